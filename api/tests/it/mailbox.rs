//! A mail server on a free port that keeps what it gets, or refuses it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use opb_api::{ApiSettings, MailSettings};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Where links lead in these tests; nobody answers there.
pub const PUBLIC_URL: &str = "http://bank.test/";

pub struct Mailbox {
    pub port: u16,
    /// What is answered to a whole mail; 250 takes it.
    pub answer: Arc<AtomicU16>,
    mails: Arc<Mutex<Vec<String>>>,
    came: Arc<Notify>,
}

impl Mailbox {
    pub async fn open() -> Self {
        Self::open_at(0).await
    }

    pub async fn open_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mailbox = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(AtomicU16::new(250)),
            mails: Arc::default(),
            came: Arc::default(),
        };
        let (answer, mails) = (Arc::clone(&mailbox.answer), Arc::clone(&mailbox.mails));
        let came = Arc::clone(&mailbox.came);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, mails) = (Arc::clone(&answer), Arc::clone(&mails));
                let came = Arc::clone(&came);
                tokio::spawn(async move {
                    // A client that hangs up ends its conversation and no other.
                    let _ = converse(stream, &answer, &mails, &came).await;
                });
            }
        });
        mailbox
    }

    /// A free port at which nobody answers.
    pub async fn closed() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    }

    /// Waits for the first mail whose text contains this, and returns it.
    pub async fn wait_for(&self, text: &str) -> String {
        let found = async {
            loop {
                let came = self.came.notified();
                if let Some(mail) = self.mails().into_iter().find(|mail| mail.contains(text)) {
                    return mail;
                }
                came.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(100), found).await;
        waited.unwrap_or_else(|_| panic!("no mail with `{text}` came: {:?}", self.mails()))
    }

    /// Everything that came.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
}

/// Has a server send its mail to this port.
pub fn send_to(port: u16) -> impl FnOnce(&mut ApiSettings) {
    move |settings| {
        settings.public_url = Some(PUBLIC_URL.parse().unwrap());
        settings.mail = MailSettings {
            smtp_url: Some(format!("smtp://127.0.0.1:{port}").into()),
            mail_from: Some("OpenPromptBank <bank@bank.test>".into()),
        };
    }
}

/// The token of the link in a mail.
#[track_caller]
pub fn token(mail: &str) -> String {
    let (_, rest) = mail.split_once("#token=").expect("a mail with a link");
    rest.split_whitespace().next().unwrap().to_owned()
}

/// A mail as its reader sees it: long lines joined again, escapes replaced.
fn as_read(mail: &str) -> String {
    assert!(!mail.contains(": base64"), "{mail}");
    if mail.contains(": quoted-printable") {
        return mail.replace("=\r\n", "").replace("=3D", "=");
    }
    mail.to_owned()
}

async fn converse(
    stream: TcpStream,
    answer: &AtomicU16,
    mails: &Mutex<Vec<String>>,
    came: &Notify,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mailbox.test\r\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = std::mem::take(&mut line).to_ascii_uppercase();
        let reply = match command.split_whitespace().next() {
            Some("DATA") => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await? == 0 {
                        return Ok(());
                    }
                }
                let code = answer.load(Ordering::SeqCst);
                if code == 250 {
                    mails.lock().unwrap().push(as_read(&mail));
                    came.notify_waiters();
                }
                // A refusal repeats what it refuses, as some servers do.
                format!("{code} said of the mail\r\n")
            }
            Some("QUIT") => return stream.write_all(b"221 bye\r\n").await,
            _ => "250 fine\r\n".to_owned(),
        };
        stream.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

//! What other users and other processes of the machine do not get: the local key, the lock, secrets of children.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    process::Command,
    sync::mpsc,
    time::Duration,
};

use crate::site::{Site, signal};

/// A server of somebody, which notes what it is sent.
fn listen_at(address: &str) -> mpsc::Receiver<String> {
    let listener = TcpListener::bind(address).unwrap();
    let (sent, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 8192];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            );
            if sent.send(text).is_err() {
                return;
            }
        }
    });
    received
}

/// L6: the bank was killed, its address is still written down, and somebody else listens there now.
#[test]
fn a_foreign_listener_gets_no_key() {
    let site = Site::new();
    let mut up = site.up(&[]);
    let url = up.url.clone();
    let key = fs::read_to_string(site.data().join("api-key")).unwrap();
    site.check(&["runs"], 0);
    signal("KILL", up.id());
    up.wait();
    assert_eq!(
        fs::read_to_string(site.data().join("url")).unwrap().trim(),
        url
    );
    let received = listen_at(url.strip_prefix("http://").unwrap());
    for words in [
        &["runs"][..],
        &["runs", "--url", &url],
        &["doctor"],
        &["health", "--health-url", &format!("{url}/readyz")],
        &["demo"],
    ] {
        // A demonstration starts a bank of its own, and has a port of its own.
        site.opb(words);
    }
    let mut heard = Vec::new();
    while let Ok(text) = received.recv_timeout(Duration::from_millis(300)) {
        heard.push(text);
    }
    assert!(!heard.is_empty(), "the commands do ask there");
    for text in &heard {
        assert!(
            !text.contains(key.trim()) && !text.contains("opb_"),
            "{text}"
        );
    }
    // While the bank serves, only its very address gets the key.
    let up = site.up(&[]);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let received = listen_at(&free.to_string());
    site.opb(&["runs", "--url", &format!("http://{free}")]);
    let text = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(!text.contains("opb_"), "{text}");
    site.check(&["runs", "--url", &up.url], 0);
}

/// L7: whoever may not open the lock cannot hold it.
#[test]
fn nobody_else_can_hold_the_locks() {
    let site = Site::new();
    let up = site.up(&[]);
    for name in ["bank.lock", "opb.lock"] {
        let path = site.data().join(name);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        let owner = fs::metadata(site.data()).unwrap().uid();
        assert_eq!(metadata.uid(), owner, "{name}");
        // Only root can become somebody else.
        if owner == 0 {
            let opened = Command::new("sh")
                .args(["-c", "exec 9<\"$0\"", path.to_str().unwrap()])
                .uid(65_534)
                .output()
                .unwrap();
            assert!(!opened.status.success(), "{name}");
        }
    }
    drop(up);
    // A lock file of an older opb, which somebody holds.
    let path = site.data().join("bank.lock");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    if fs::metadata(&path).unwrap().uid() != 0 || !fs::exists("/usr/bin/flock").unwrap() {
        return;
    }
    let mut holder = Command::new("/usr/bin/flock")
        .arg(&path)
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .uid(65_534)
        .spawn()
        .unwrap();
    let mut word = [0; 4];
    holder.stdout.take().unwrap().read_exact(&mut word).unwrap();
    let refused = site.check(&["up"], 1);
    assert!(
        refused.error().contains("bank.lock") || refused.error().contains("already serves"),
        "{}",
        refused.err
    );
    // Where the system tells who holds it, so do we.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    if locks.contains(&format!(":{} ", fs::metadata(&path).unwrap().ino())) {
        assert!(refused.error().contains("nobody"), "{}", refused.err);
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// L8: a key that others can read is refused, and the doctor says how to mend it.
#[test]
fn keys_that_others_can_read_are_refused() {
    let site = Site::new();
    drop(site.up(&[]));
    for (name, what) in [("master-key", "master key"), ("api-key", "API key")] {
        let path = site.data().join(name);
        for mode in [0o644, 0o640, 0o604, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = site.check(&["up", "--listen", "127.0.0.1:0"], 1);
            let mend = format!("chmod 600 {}", path.display());
            assert!(
                refused.err.contains(&mend) && refused.err.contains(what),
                "{mode:o}: {}",
                refused.err
            );
            let report = site.check(&["doctor", "--json"], 1).json();
            let secrets = report.as_array().unwrap().iter();
            let mut secrets = secrets.filter(|check| check["name"] == "secrets");
            assert_eq!(secrets.next().unwrap()["mend"], mend, "{report}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    drop(site.up(&[]));
}

/// M5: neither the server nor its children know our secrets, and the bank's role reads none.
#[test]
fn children_have_no_secrets() {
    const CANARY: &str = "canary-of-a-secret";
    let site = Site::new();
    let mut command = site.command(&["up", "--listen", "127.0.0.1:0"]);
    for name in [
        "OPENAI_API_KEY",
        "OPB_SMTP_URL_NOTE",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
    ] {
        command.env(name, CANARY);
    }
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    assert_eq!(&word, b"ready");
    let server = site.postgres();
    let mut checked = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let is_child = status.lines().any(|line| {
            let parent = line.strip_prefix("PPid:").map(str::trim);
            parent.is_some_and(|parent| {
                parent == child.id().to_string() || parent == server.to_string()
            })
        });
        if is_child {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            assert!(!environment.contains(CANARY), "{environment}");
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked}");
    signal("TERM", child.id());
    child.wait().unwrap();
}

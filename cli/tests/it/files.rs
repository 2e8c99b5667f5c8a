//! What commands read and write: no file but the one that is meant, and nothing without an end.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
};

use crate::site::Site;

/// A server that answers every request with these bytes. Returns its address.
fn serve_bytes(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 8192]);
            let _ = stream.write_all(&answer);
        }
    });
    address
}

#[test]
fn an_export_writes_through_no_link_of_its_folder() {
    let site = Site::new();
    let _up = site.up(&[]);
    let (source, folder) = (site.path().join("source"), site.path().join("folder"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("terse.txt"), "Briefly: {{ question }}\n").unwrap();
    site.check(&["prompt", "import", source.to_str().unwrap()], 0);
    let export = ["prompt", "export", folder.to_str().unwrap()];
    site.check(&export, 0);
    let entries = fs::read_dir(&folder).unwrap();
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    let outside = site.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    for file in &files {
        fs::remove_file(file).unwrap();
        symlink(&outside, file).unwrap();
    }
    site.check(&export, 0);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    for file in &files {
        assert!(file.symlink_metadata().unwrap().is_file(), "{file:?}");
    }
}

#[test]
fn nothing_is_read_without_an_end() {
    let site = Site::new();
    let config = site.check(&["--config", "/dev/zero", "runs"], 2);
    let expect = "the configuration file /dev/zero cannot be read: it is larger than";
    assert!(config.error().contains(expect), "{}", config.err);
    for (words, what) in [
        (&["login", "--token-stdin"][..], "the token"),
        (&["login", "ada"], "the password"),
        (&["login"], "the username"),
        (
            &["provider", "set-key", "openai", "--credential-stdin"],
            "the credential",
        ),
    ] {
        let mut command = site.command(words);
        let output = command.stdin(File::open("/dev/zero").unwrap()).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let expect = format!("{what} cannot be read from standard input: it is larger than 64 KiB");
        assert!(text.contains(&expect), "{words:?}: {text}");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    let head = "HTTP/1.1 422 No\r\ncontent-type: application/problem+json\r\n\r\n";
    let endless = [head.as_bytes(), &vec![b' '; 3 << 20]].concat();
    let printed = site.check(&["runs", "--url", &serve_bytes(endless)], 1);
    let expect = "sent more than 1 MiB, which is not an OpenPromptBank response";
    assert!(printed.error().contains(expect), "{}", printed.err);
}

#[test]
fn a_redirect_is_told_with_the_address_to_give() {
    let site = Site::new();
    for (location, expect) in [
        (
            "https://bank.example/api/v1/runs?limit=20",
            "--url https://bank.example or",
        ),
        ("https://bank.example/", "--url https://bank.example or"),
        (
            "mailto:ada@bank.example",
            "to an address that opb cannot use",
        ),
    ] {
        let answer = format!(
            "HTTP/1.1 301 Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let url = serve_bytes(answer.into());
        for words in [
            &["runs"][..],
            &["run", "--benchmark=a", "--prompt=b", "--model=c:d"],
        ] {
            let printed = site.check(&[words, &["--url", &url]].concat(), 1);
            let error = printed.error();
            let told = error.starts_with(&format!("error: {url} redirects"));
            assert!(told && error.contains("(301 "), "{error}");
            let base = words[0] == "runs" || location.ends_with('/');
            assert!(!base || error.contains(expect), "{error}");
        }
        let health = format!("{url}/readyz");
        let health = site.check(&["health", "--health-url", &health], 1);
        assert!(health.out.contains(location), "{}", health.out);
    }
}

#[test]
fn a_file_that_cannot_be_read_keeps_no_other_prompt_away() {
    let site = Site::new();
    let _up = site.up(&[]);
    let folder = site.path().join("mine");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("terse.txt"), "Briefly: {{ question }}\n").unwrap();
    fs::write(folder.join("bytes.txt"), [0xff]).unwrap();
    symlink("/dev/zero", folder.join("link.md")).unwrap();
    let words = ["prompt", "import", folder.to_str().unwrap()];
    let report = site.check(&words, 1).out;
    for expect in [
        "bytes.txt refused: ",
        "not text in UTF-8",
        "link.md refused: ",
        "is a link, which is not followed",
        "1 created, 0 updated, 0 unchanged, 2 refused",
    ] {
        assert!(report.contains(expect), "{report}");
    }
    let again = site.check(&[&words[..], &["--json"]].concat(), 1).json();
    assert_eq!(
        (&again["unchanged"], &again["refused"]),
        (&1.into(), &2.into())
    );
}

/// A prompt that the server does not even read, among others that it takes.
#[test]
fn a_prompt_that_is_too_large_is_refused_alone() {
    let site = Site::new();
    let _up = site.up(&["--body-limit-bytes=20000"]);
    let folder = site.path().join("mine");
    fs::create_dir(&folder).unwrap();
    for name in ["a", "b", "d"] {
        let text = format!("{name}: {{{{ question }}}} {}\n", "x".repeat(5_000));
        fs::write(folder.join(format!("{name}.txt")), text).unwrap();
    }
    fs::write(folder.join("c.txt"), "x".repeat(30_000)).unwrap();
    let report = site.check(&["prompt", "import", folder.to_str().unwrap()], 1);
    assert!(
        report.out.contains("c.txt refused: ")
            && report
                .out
                .contains("3 created, 0 updated, 0 unchanged, 1 refused"),
        "{}",
        report.out
    );
}

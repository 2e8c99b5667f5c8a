//! Binding the listening address, with an error that names the program that already uses it.

use std::{fs, io, net::SocketAddr, path::Path};

use anyhow::anyhow;
use tokio::net::TcpListener;

/// Number of ports after a taken one that are tried.
const TRIED: u16 = 50;

/// Listens on an address.
///
/// # Errors
/// The address is taken, or not of this machine; the message names the process that uses it, if the system tells, and
/// proposes another address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| cannot_listen(address, &error))
}

/// Checks whether an address can be listened on, before anything slow begins. The address is released again.
///
/// # Errors
/// The address cannot be listened on; the message says why.
pub fn check_address(address: SocketAddr) -> anyhow::Result<()> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder(address).map_or_else(
                || "another program".to_owned(),
                |(name, pid)| format!("{name} (process {pid})"),
            );
            let way_out = next_free(address).map_or_else(
                || "choose another with --listen".to_owned(),
                |free| format!("stop it, or use another port: --listen {free}"),
            );
            anyhow!("{address} is already in use by {holder}; {way_out}")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("no permission to listen on {address}; choose a port above 1023 with --listen")
        }
        io::ErrorKind::AddrNotAvailable => anyhow!(
            "{address} is not an address of this machine; choose another with --listen (0.0.0.0 means all)"
        ),
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}

/// The next port after a taken one that is free now.
fn next_free(taken: SocketAddr) -> Option<SocketAddr> {
    let ports = taken.port().checked_add(1)?..=taken.port().saturating_add(TRIED);
    ports
        .map(|port| SocketAddr::new(taken.ip(), port))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
}

/// Name and id of the process that listens on an address, if the system shows it to this user.
fn holder(address: SocketAddr) -> Option<(String, u32)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_sockets(&table, address.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| {
                target
                    .to_str()
                    .is_some_and(|target| sockets.iter().any(|socket| socket == target))
            });
        holds.then(|| (process_name(&entry.path()), pid))
    })
}

/// The inodes of sockets that listen on a port, from the system's table of TCP sockets.
fn listening_sockets(table: &str, port: u16) -> Vec<String> {
    /// The table's code for the state "listening".
    const LISTENS: &str = "0A";
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&port) && *state == LISTENS).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn process_name(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        "a process".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_found_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
            2: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(listening_sockets(table, 8000), ["4711"]);
        assert_eq!(listening_sockets(table, 8001), ["4713"]);
        assert!(listening_sockets(table, 80).is_empty());
        assert!(listening_sockets("", 80).is_empty());
    }

    #[tokio::test]
    async fn a_taken_address_is_told_with_its_holder_and_a_way_out() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = check_address(address).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(error.contains(&process), "{error}");
        let (_, free) = error.split_once("--listen ").unwrap();
        check_address(free.parse().unwrap()).unwrap();
        let elsewhere = check_address("192.0.2.1:0".parse().unwrap());
        assert!(
            elsewhere
                .unwrap_err()
                .to_string()
                .contains("not an address of this machine")
        );
    }
}

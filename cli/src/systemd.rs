//! What systemd is told (sd_notify(3)): that the service is ready, and how it fares.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// Sends one assignment, such as `READY=1`, to the service manager, if there is one. That it is told
/// nothing harms nobody.
pub(crate) fn notify(assignment: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        drop(send(&socket, assignment));
    }
}

fn send(socket: &OsString, assignment: &str) -> std::io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return datagram.send_to_addr(assignment.as_bytes(), &address).map(drop);
    }
    datagram.send_to(assignment.as_bytes(), socket).map(drop)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    #[test]
    fn a_manager_is_told_at_a_path_or_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("vouchsafe-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").into()),
        ] {
            send(&socket, "READY=1").unwrap();
            let mut told = [0; 16];
            let len = manager.recv(&mut told).unwrap();
            assert_eq!(&told[..len], b"READY=1");
        }
    }
}

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

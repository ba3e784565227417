//! An audit that nobody reads: nothing is done without a record, but whoever comes is still turned away,
//! and the gateway still stops.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use vouchsafe_tests::World;
use vouchsafe_transport::{EventLog, Output};

#[tokio::test]
async fn whoever_stalls_the_audit_holds_up_neither_the_door_nor_the_end() {
    let world = World::new();
    let (_unread, full) = std::io::pipe().unwrap();
    let full = Arc::new(Output::new(File::from(OwnedFd::from(full))));
    while full.try_write(&[b'\n'; 4096]).unwrap() {}
    let gateway = world
        .gateway(|config| {
            let output = Arc::clone(&full);
            config.log = EventLog::new(output, Arc::new(DefaultTimeProvider));
            config.limits.child_grace = Duration::from_millis(500);
        })
        .await;
    // Each is refused, and soon there are too many of them to be told one by one.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let mut stranger = TcpStream::connect(gateway.address).await.unwrap();
        stranger.write_all(b"this is no handshake\r\n").await.unwrap();
        let heard = timeout(Duration::from_secs(10), stranger.read(&mut [0; 64])).await;
        heard.expect("nobody is at the door").ok();
    }
    timeout(Duration::from_secs(20), gateway.stop()).await.expect("it does not stop");
}

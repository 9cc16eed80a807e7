//! Two in a room of their own: one sends data and sound, the other sends the data back.

use super::{PATIENCE, Shared};
use anyhow::ensure;
use bench::guest::{Guest, RELIABLE, World};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const ROOM: &str = "quiet";
/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(25);

pub(super) fn run(world: &World, shared: &Shared) {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(talk(world, shared)));
    if let Err(error) = result {
        shared.data.fail(u64::MAX, &error);
    }
}

pub(crate) fn packet(payload: &[u8]) -> Vec<u8> {
    let user = proto::UserPacket {
        payload: payload.to_vec(),
        ..Default::default()
    };
    let packet = proto::DataPacket {
        value: Some(Value::User(user)),
        ..Default::default()
    };
    packet.encode_to_vec()
}

fn number(packet: &[u8]) -> Option<u64> {
    let packet = proto::DataPacket::decode(packet).ok()?;
    let Some(Value::User(user)) = packet.value else {
        return None;
    };
    Some(u64::from_be_bytes(user.payload.try_into().ok()?))
}

/// Tells what anybody on the way could read.
fn note(shared: &Shared, guest: &Guest) {
    let links = [Some(&guest.receiving), guest.sending.as_ref()];
    let names = links.into_iter().flatten().filter_map(|link| {
        let to = link.addresses.first().copied()?;
        Some((link.user_name()?, to))
    });
    let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(names);
}

async fn talk(world: &World, shared: &Shared) -> anyhow::Result<()> {
    let mut first = Guest::join(world, ROOM, "first").await?;
    let mut second = Guest::join(world, ROOM, "second").await?;
    first.open_data().await?;
    second.open_data().await?;
    first.publish(1).await?;
    note(shared, &first);
    note(shared, &second);
    let ahead = async {
        let mut next = 0;
        let mut due = Instant::now();
        while !shared.is_stopped() {
            ensure!(!first.ended, "the server closed a session of the quiet room");
            if Instant::now() >= due
                && let Some(link) = &mut first.sending
            {
                due = Instant::now() + INTERVAL;
                next += 1;
                shared.data.begin(next);
                ensure!(
                    link.send(RELIABLE, &packet(&next.to_be_bytes())),
                    "the data channel takes no more"
                );
                link.flush().await;
                shared.data.expire(PATIENCE);
            }
            first.step().await?;
            shared.sound[0].store(first.sent(), Ordering::Relaxed);
            while let Some((_, message)) = first.receiving.message() {
                if let Some(number) = number(&message) {
                    shared.data.end(number);
                    // Sound comes last.
                    if shared.sound[1].load(Ordering::Relaxed) > 0 {
                        shared.ready.store(true, Ordering::Release);
                    }
                }
            }
        }
        anyhow::Ok(())
    };
    let back = async {
        while !shared.is_stopped() {
            ensure!(!second.ended, "the server closed a session of the quiet room");
            second.step().await?;
            shared.sound[1].store(second.receiving.heard, Ordering::Relaxed);
            while let Some((_, message)) = second.receiving.message() {
                if let (Some(number), Some(link)) = (number(&message), &mut second.sending) {
                    ensure!(
                        link.send(RELIABLE, &packet(&number.to_be_bytes())),
                        "the data channel takes no more"
                    );
                    link.flush().await;
                }
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(ahead, back).map(|_| ())
}

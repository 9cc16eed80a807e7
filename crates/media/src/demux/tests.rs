//! Who gets an address, who keeps it, and how many there are.

use super::*;

const OTHER: ThreadId = ThreadId(1);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn nowhere(_: u32) -> Option<SocketAddr> {
    None
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
fn epoch() -> Instant {
    Instant::now()
}

#[test]
fn addresses_follow_their_peer_until_it_goes() {
    let mut demux = Demux::default();
    let now = epoch();
    demux.add_fragment(3, "00abcdef");
    assert_eq!(demux.by_fragment(b"00abcdef"), Some(3));
    demux.learn((now, address(1), None), 3, nowhere);
    demux.learn((now, address(2), Some(OTHER)), 3, nowhere);
    demux.learn((now, address(3), None), 3, nowhere);
    assert_eq!(demux.learn((now, address(3), None), 4, nowhere), (true, None));
    assert_eq!(demux.remove(3), [(OTHER, address(2))], "told where it is noted");
    assert_eq!(demux.by_address(address(1)), None);
    assert_eq!(demux.by_address(address(3)), Some(Route::Peer(4)));
    assert_eq!(demux.by_fragment(b"00abcdef"), None);
}

#[test]
fn an_address_in_use_is_given_to_nobody_else() {
    let mut demux = Demux::default();
    let now = epoch();
    let selected = |peer: u32| (peer == 1).then(|| address(7));
    demux.learn((now, address(7), None), 1, selected);
    let soon = now + IN_USE - Duration::from_millis(1);
    assert_eq!(demux.learn((soon, address(7), None), 2, selected), (false, None));
    assert_eq!(demux.by_address(address(7)), Some(Route::Peer(1)));
    // Silent for so long, the first one is gone or elsewhere.
    assert_eq!(
        demux.learn((now + IN_USE, address(7), None), 2, selected),
        (true, None)
    );
    assert_eq!(demux.by_address(address(7)), Some(Route::Peer(2)));
}

#[test]
fn the_selected_address_is_never_forgotten_in_favour_of_others() {
    let mut demux = Demux::default();
    let now = epoch();
    let selected = |_| Some(address(1));
    demux.learn((now, address(1), Some(OTHER)), 0, selected);
    let mut told = Vec::new();
    for port in 2..=1000 {
        let at = now + Duration::from_millis(u64::from(port));
        told.extend(demux.learn((at, address(port), Some(OTHER)), 0, selected).1);
    }
    assert_eq!(demux.by_address(address(1)), Some(Route::Peer(0)));
    assert_eq!(demux.addresses.len(), ADDRESSES_PER_PEER);
    assert_eq!(demux.forgotten(), 1000 - ADDRESSES_PER_PEER as u64);
    // Those unheard for the longest time go first, and their thread is told.
    let oldest: Vec<_> = (2..=1000 - 15).map(|port| (OTHER, address(port))).collect();
    assert_eq!(told, oldest);
}

#[test]
fn an_address_heard_again_outlives_those_that_were_not() {
    let mut demux = Demux::default();
    let now = epoch();
    let at = |ms: u64| now + Duration::from_millis(ms);
    for port in 1..=16 {
        demux.learn((at(u64::from(port)), address(port), None), 0, nowhere);
    }
    demux.learn((at(20), address(1), None), 0, nowhere);
    demux.learn((at(21), address(17), None), 0, nowhere);
    assert_eq!(demux.by_address(address(1)), Some(Route::Peer(0)));
    assert_eq!(demux.by_address(address(2)), None);
}

#[test]
fn other_threads_addresses_displace_none_of_ours() {
    let mut demux = Demux::default();
    let now = epoch();
    demux.learn((now, address(1), None), 0, nowhere);
    demux.learn_foreign(address(1), OTHER);
    assert_eq!(demux.by_address(address(1)), Some(Route::Peer(0)));
    demux.learn_foreign(address(2), OTHER);
    demux.learn_foreign(address(2), ThreadId(2));
    assert_eq!(demux.by_address(address(2)), Some(Route::Thread(OTHER)));
    assert_eq!(demux.learn((now, address(2), None), 0, nowhere), (false, None));
    demux.forget_foreign(address(2), ThreadId(2));
    assert_eq!(demux.by_address(address(2)), Some(Route::Thread(OTHER)));
    demux.forget_foreign(address(2), OTHER);
    assert_eq!(demux.by_address(address(2)), None);
}

#[test]
fn fragments_are_bounded() {
    let mut demux = Demux::default();
    for restart in 0..20 {
        demux.add_fragment(0, &restart.to_string());
    }
    assert_eq!(demux.fragments.len(), FRAGMENTS_PER_PEER);
    assert_eq!(demux.by_fragment(b"19"), Some(0));
}

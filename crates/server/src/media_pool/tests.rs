//! Placement; threads with real sockets are tested in `tests/media_pool.rs`.

use super::choose;

#[test]
fn a_room_stays_at_home_until_home_is_full() {
    assert_eq!(choose(&[9, 0, 3], Some(0), 10), 0);
    assert_eq!(choose(&[10, 4, 3], Some(0), 10), 2);
}

#[test]
fn a_new_room_goes_to_the_least_loaded_thread() {
    assert_eq!(choose(&[5, 2, 2], None, 10), 1);
    assert_eq!(choose(&[10, 10], None, 10), 0, "full everywhere is still placed");
}

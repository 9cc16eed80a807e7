//! Which layers of its tracks a peer gets when they may take only so many bytes a second.
//!
//! Owns: the choice. Must not know: peers, packets, why the rate is limited. Pure.

use crate::api::LayerWish;

/// One way to send a track: layers up to these, at this rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Bytes per second.
    pub(crate) rate: u64,
}

/// What is sent of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// As wished.
    #[default]
    All,
    /// Layers up to these.
    UpTo { spatial: u8, temporal: u8 },
    /// Not even the lowest fits: for a while from a key frame on, then a pause, as long as what was
    /// sent needs to get through.
    Bursts,
}

impl Allowed {
    /// What remains of a wish; in a pause, nothing.
    pub(crate) fn within(self, wish: LayerWish) -> LayerWish {
        match self {
            Self::All | Self::Bursts => wish,
            Self::UpTo { spatial, temporal } => LayerWish {
                spatial: wish.spatial.min(spatial),
                temporal: wish.temporal.min(temporal),
                ..wish
            },
        }
    }
}

/// A track: the ways to send it within the wish, cheapest first, and what is allowed at present.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) choices: Vec<Choice>,
    pub(crate) now: Allowed,
}

/// What is better than what flows must fit with this many per cent to spare, or rates that vary
/// would make the picture go up and down, with a key frame each time.
const BETTER_PERCENT: u64 = 115;

/// Divides `budget` bytes per second: first the lowest choice of each row, in their order, then one
/// step more for each in turn.
pub(crate) fn allocate(budget: u64, rows: &[Row]) -> Vec<Allowed> {
    let mut left = budget;
    let mut chosen: Vec<Option<usize>> = vec![None; rows.len()];
    loop {
        let mut moved = false;
        for (row, chosen) in rows.iter().zip(&mut chosen) {
            let next = chosen.map_or(0, |index| index + 1);
            let Some(choice) = row.choices.get(next) else {
                continue;
            };
            let held = chosen
                .and_then(|index| row.choices.get(index))
                .map_or(0, |held| held.rate);
            let extra = choice.rate.saturating_sub(held);
            let needed = if is_better(choice, row.now) {
                extra.saturating_mul(BETTER_PERCENT) / 100
            } else {
                extra
            };
            if needed <= left {
                left -= extra.min(left);
                *chosen = Some(next);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let allowed = |(row, chosen): (&Row, Option<usize>)| match chosen {
        // Nothing is known of it, or nothing flows.
        _ if row.choices.is_empty() => row.now,
        None => Allowed::Bursts,
        Some(index) if index + 1 == row.choices.len() => Allowed::All,
        Some(index) => Allowed::UpTo {
            spatial: row.choices[index].spatial,
            temporal: row.choices[index].temporal,
        },
    };
    rows.iter().zip(chosen).map(allowed).collect()
}

fn is_better(choice: &Choice, now: Allowed) -> bool {
    match now {
        Allowed::All => false,
        Allowed::UpTo { spatial, temporal } => (choice.spatial, choice.temporal) > (spatial, temporal),
        Allowed::Bursts => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(choices: &[(u8, u8, u64)]) -> Row {
        let choice = |&(spatial, temporal, rate)| Choice {
            spatial,
            temporal,
            rate,
        };
        Row {
            choices: choices.iter().map(choice).collect(),
            now: Allowed::All,
        }
    }

    const fn up_to(spatial: u8, temporal: u8) -> Allowed {
        Allowed::UpTo { spatial, temporal }
    }

    #[test]
    fn a_budget_is_divided_evenly_from_the_lowest_up() {
        use Allowed::{All, Bursts};
        let simulcast = row(&[(0, 0, 10), (0, 2, 20), (1, 2, 60), (2, 2, 200)]);
        let single = row(&[(0, 2, 100)]);
        let rows = [simulcast.clone(), simulcast, single];
        let table: [(u64, [Allowed; 3]); 7] = [
            (0, [Bursts, Bursts, Bursts]),
            (10, [up_to(0, 0), Bursts, Bursts]),
            (39, [up_to(0, 2), up_to(0, 0), Bursts]),
            (40, [up_to(0, 2), up_to(0, 2), Bursts]),
            (140, [up_to(0, 2), up_to(0, 2), All]),
            (220, [up_to(1, 2), up_to(1, 2), All]),
            (500, [All, All, All]),
        ];
        for (budget, expected) in table {
            assert_eq!(allocate(budget, &rows)[..2], expected[..2], "{budget}");
        }
        assert_eq!(allocate(120, &rows), [up_to(0, 0), up_to(0, 0), All]);
    }

    #[test]
    fn what_flows_may_stay_where_better_needs_room_to_spare() {
        let mut simulcast = row(&[(0, 2, 20), (1, 2, 60), (2, 2, 200)]);
        assert_eq!(allocate(60, &[simulcast.clone()]), [up_to(1, 2)]);
        simulcast.now = up_to(0, 2);
        assert_eq!(allocate(60, &[simulcast.clone()]), [up_to(0, 2)]);
        assert_eq!(allocate(66, &[simulcast.clone()]), [up_to(1, 2)]);
        simulcast.now = Allowed::Bursts;
        assert_eq!(allocate(20, &[simulcast]), [Allowed::Bursts]);
    }

    #[test]
    fn the_sum_is_never_above_the_budget() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let rows: Vec<Row> = (0..random(6))
                .map(|_| {
                    let mut rate = 0;
                    let mut choices = Vec::new();
                    for spatial in 0..random(4) as u8 {
                        rate += 1 + random(100);
                        choices.push((spatial, 0, rate));
                    }
                    row(&choices)
                })
                .collect();
            let budget = random(500);
            let sum: u64 = allocate(budget, &rows)
                .iter()
                .zip(&rows)
                .map(|(allowed, row)| match allowed {
                    Allowed::All => row.choices.last().map_or(0, |choice| choice.rate),
                    Allowed::Bursts => 0,
                    Allowed::UpTo { spatial, .. } => row.choices[usize::from(*spatial)].rate,
                })
                .sum();
            assert!(sum <= budget, "{sum} of {budget}");
        }
    }
}

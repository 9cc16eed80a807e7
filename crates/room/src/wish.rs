//! Which layers a subscriber wants of a video track.

use crate::participant::ParticipantId;
use crate::room::Room;
use crate::timers::Timer;
use media::api::{Command, DownKey, LayerWish, UpWindow};
use protocol::proto;
use std::time::Duration;

/// Track settings settle this long before they take effect. Longer saves switches while a window
/// is dragged; shorter reacts sooner.
const SETTINGS_DEBOUNCE: Duration = Duration::from_millis(100);

/// A layer satisfies a request that is up to a ninth larger: half-hidden tiles do not double a
/// stream.
const TOLERANCE_PERCENT: u32 = 90;

impl Room {
    /// The client says how it shows some tracks. Kept also for tracks it does not have yet.
    pub(crate) fn update_track_settings(&mut self, id: ParticipantId, settings: &proto::UpdateTrackSettings) {
        let mut own = settings.clone();
        let sids: std::collections::BTreeSet<_> = std::mem::take(&mut own.track_sids).into_iter().collect();
        for sid in &sids {
            let Some(subscription) = self.subscription(id, sid) else {
                continue;
            };
            let was_disabled = subscription
                .settings
                .as_ref()
                .is_some_and(|settings| settings.disabled);
            subscription.settings = Some(own.clone());
            let Some(down) = subscription.down else {
                continue;
            };
            if was_disabled && !settings.disabled {
                self.timers.cancel(Timer::Wish(down));
                self.apply_wish(down);
            } else {
                self.timers
                    .set_if_none(Timer::Wish(down), self.now.monotonic + SETTINGS_DEBOUNCE);
            }
        }
    }

    /// Settings took effect.
    pub(crate) fn apply_wish(&mut self, down: DownKey) {
        let Some((subscriber, track_sid)) = self.subscriber_of(down) else {
            return;
        };
        let wish = self.wish(subscriber, &track_sid);
        let known = self
            .participants
            .get_mut(&subscriber)
            .and_then(|participant| participant.subscriptions.get_mut(&track_sid))
            .filter(|subscription| subscription.bound)
            .map(|subscription| subscription.wish.replace(wish));
        // Before it is bound the media plane knows nothing of the copy.
        if known.is_some_and(|known| known != Some(wish)) {
            self.command(down.thread(), Command::SetWish { down, wish });
        }
        self.demand_changed(&track_sid);
    }

    /// What a subscriber wants of a track now.
    pub(crate) fn wish(&self, id: ParticipantId, sid: &str) -> LayerWish {
        let Some(participant) = self.participants.get(&id) else {
            return LayerWish::BEST;
        };
        let publication = self.published(sid);
        let settings = participant
            .subscriptions
            .get(sid)
            .and_then(|subscription| subscription.settings.as_ref());
        let Some(publication) = publication else {
            return LayerWish::BEST;
        };
        let source = participant.subscriptions.get(sid).and_then(|wish| wish.source);
        let info = publication.info_of(source.unwrap_or(publication.usual_source()));
        let mut wish = layer_wish(&info, settings, participant.settings.adaptive_stream);
        if let Some(settings) = settings {
            wish.temporal = temporal_of_fps(settings.fps, &publication.rates, wish.spatial);
        }
        wish
    }

    /// Frame rates of a track were measured: who asked for a rate may be satisfied by other layers.
    pub(crate) fn rates_measured(&mut self, window: &UpWindow) {
        let Some(publication) = self
            .tracks
            .get(&window.track)
            .and_then(|id| self.participants.get_mut(id))
            .and_then(|participant| {
                let mut publications = participant.publications.values_mut();
                publications.find(|publication| publication.usual_source() == window.track)
            })
        else {
            return;
        };
        for (known, measured) in publication.rates.iter_mut().zip(window.rates) {
            if measured[3] > 0.0 {
                *known = measured;
            }
        }
        let sid = publication.info.sid.clone();
        let asking: Vec<_> = self
            .participants
            .values()
            .filter_map(|participant| {
                let subscription = participant.subscriptions.get(&sid)?;
                let fps = subscription.settings.as_ref()?.fps;
                subscription.down.filter(|_| fps > 0)
            })
            .collect();
        for down in asking {
            if !self.timers.is_set(Timer::Wish(down)) {
                self.apply_wish(down);
            }
        }
    }
}

/// The layers that satisfy `settings`, or the default when there are none.
pub(crate) fn layer_wish(
    info: &proto::TrackInfo,
    settings: Option<&proto::UpdateTrackSettings>,
    adaptive: bool,
) -> LayerWish {
    if info.r#type() == proto::TrackType::Audio {
        return LayerWish {
            enabled: settings.is_none_or(|settings| !settings.disabled),
            ..LayerWish::BEST
        };
    }
    let Some(settings) = settings else {
        let quality = if adaptive {
            proto::VideoQuality::Low
        } else {
            proto::VideoQuality::High
        };
        return LayerWish {
            spatial: spatial_of_quality(info, quality),
            ..LayerWish::BEST
        };
    };
    let spatial = if settings.width > 0 {
        spatial_of_dimensions(info, settings.width, settings.height)
    } else {
        spatial_of_quality(info, settings.quality())
    };
    LayerWish {
        spatial,
        temporal: LayerWish::BEST.temporal,
        enabled: !settings.disabled && settings.quality() != proto::VideoQuality::Off,
    }
}

/// The layer of a quality: only qualities that the track has count, from the lowest.
pub(crate) fn spatial_of_quality(info: &proto::TrackInfo, quality: proto::VideoQuality) -> u8 {
    let wanted: i32 = quality.into();
    if info.layers.is_empty() {
        return u8::try_from(wanted.clamp(0, 2)).unwrap_or(2);
    }
    let at_most = info.layers.iter().filter(|layer| layer.quality <= wanted).count();
    index(at_most.saturating_sub(1))
}

/// The smallest layer that is large enough. Heights are compared; of portrait video without known
/// layers, widths.
fn spatial_of_dimensions(info: &proto::TrackInfo, width: u32, height: u32) -> u8 {
    let portrait = info.width < info.height;
    let (sizes, wanted) = if info.layers.is_empty() {
        let original = if portrait { info.width } else { info.height };
        if original == 0 {
            return 2;
        }
        (vec![180, 360, original], if portrait { width } else { height })
    } else {
        let mut sizes: Vec<_> = info.layers.iter().map(|layer| layer.height).collect();
        sizes.sort_unstable();
        (sizes, height)
    };
    let wanted = u64::from(wanted) * u64::from(TOLERANCE_PERCENT) / 100;
    let enough = sizes.iter().enumerate().find(|(position, size)| {
        // Of equal sizes the last is the best.
        u64::from(**size) >= wanted && sizes.get(position + 1) != Some(*size)
    });
    index(enough.map_or(sizes.len().saturating_sub(1), |(position, _)| position))
}

/// The lowest temporal layer whose measured frame rate satisfies `fps`, within the same tolerance as
/// sizes; all of them while nothing is measured.
fn temporal_of_fps(fps: u32, rates: &[[f32; 4]; 3], spatial: u8) -> u8 {
    if fps == 0 {
        return LayerWish::BEST.temporal;
    }
    // A scalable stream is measured once for all its spatial layers.
    let own = rates.get(usize::from(spatial)).filter(|rates| rates[3] > 0.0);
    let rates = own.unwrap_or(&rates[0]);
    let wanted = fps as f32 * TOLERANCE_PERCENT as f32 / 100.0;
    let enough = rates.iter().position(|rate| wanted <= *rate);
    enough.map_or(LayerWish::BEST.temporal, |layer| layer as u8)
}

fn index(position: usize) -> u8 {
    u8::try_from(position.min(2)).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(layers: &[(proto::VideoQuality, u32)]) -> proto::TrackInfo {
        proto::TrackInfo {
            r#type: proto::TrackType::Video.into(),
            width: 1280,
            height: 720,
            layers: layers
                .iter()
                .map(|(quality, height)| proto::VideoLayer {
                    quality: (*quality).into(),
                    height: *height,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    fn full() -> proto::TrackInfo {
        use proto::VideoQuality::{High, Low, Medium};
        track(&[(Low, 180), (Medium, 360), (High, 720)])
    }

    fn quality(quality: proto::VideoQuality) -> proto::UpdateTrackSettings {
        proto::UpdateTrackSettings {
            quality: quality.into(),
            ..Default::default()
        }
    }

    fn size(width: u32, height: u32) -> proto::UpdateTrackSettings {
        proto::UpdateTrackSettings {
            width,
            height,
            ..Default::default()
        }
    }

    #[test]
    fn adaptive_streams_start_low_and_others_high() {
        assert_eq!(layer_wish(&full(), None, true).spatial, 0);
        assert_eq!(layer_wish(&full(), None, false).spatial, 2);
    }

    #[test]
    fn qualities_map_to_the_layers_that_exist() {
        use proto::VideoQuality::{High, Low, Medium};
        let two = track(&[(Low, 180), (High, 720)]);
        for (wanted, spatial) in [(Low, 0), (Medium, 0), (High, 1)] {
            assert_eq!(layer_wish(&two, Some(&quality(wanted)), true).spatial, spatial);
        }
        let only_high = track(&[(High, 720)]);
        assert_eq!(layer_wish(&only_high, Some(&quality(Low)), true).spatial, 0);
        assert_eq!(layer_wish(&track(&[]), Some(&quality(Medium)), true).spatial, 1);
    }

    #[test]
    fn the_smallest_layer_within_a_tenth_of_the_view_is_chosen() {
        for (view, spatial) in [
            ((320, 180), 0),
            ((355, 200), 0),
            ((400, 225), 1),
            ((640, 360), 1),
            ((1280, 720), 2),
            ((4000, 2000), 2),
        ] {
            let wish = layer_wish(&full(), Some(&size(view.0, view.1)), true);
            assert_eq!(wish.spatial, spatial, "{view:?}");
        }
    }

    #[test]
    fn portrait_video_without_layers_compares_widths() {
        let mut portrait = track(&[]);
        (portrait.width, portrait.height) = (720, 1280);
        assert_eq!(layer_wish(&portrait, Some(&size(180, 320)), true).spatial, 0);
        assert_eq!(layer_wish(&portrait, Some(&size(700, 1200)), true).spatial, 2);
    }

    #[test]
    fn disabling_sends_nothing() {
        let mut settings = quality(proto::VideoQuality::High);
        assert!(layer_wish(&full(), Some(&settings), true).enabled);
        settings.disabled = true;
        assert!(!layer_wish(&full(), Some(&settings), true).enabled);
    }

    #[test]
    fn the_lowest_temporal_layer_with_the_frame_rate_is_chosen() {
        let rates = [[6.0, 12.0, 24.0, 24.0], [0.0; 4], [15.0, 30.0, 60.0, 60.0]];
        for (spatial, fps, temporal) in [
            (0, 0, 3),
            (0, 6, 0),
            (0, 7, 1),
            (0, 13, 1),
            (0, 15, 2),
            (0, 30, 3),
            (1, 13, 1),
            (2, 15, 0),
            (2, 30, 1),
            (2, 60, 2),
        ] {
            assert_eq!(
                temporal_of_fps(fps, &rates, spatial),
                temporal,
                "{fps} of layer {spatial}"
            );
        }
        assert_eq!(
            temporal_of_fps(5, &[[0.0; 4]; 3], 2),
            3,
            "nothing is measured yet"
        );
    }
}

//! What the media threads are told: `audio.*`, `rtc.pli_throttle`, `rtc.rtx_budget` and
//! `rtc.datachannel_*`.

use super::assign;
use crate::config::Config;
use crate::config::settings::Settings;

pub(super) fn build(settings: &Settings, config: &mut Config) {
    let tuning = &mut config.tuning;
    tuning.active_red = config.room.active_red_encoding;
    assign(
        &mut tuning.loss_proxying,
        settings.flag("audio.enable_loss_proxying"),
    );
    let speaking = &mut tuning.speaking;
    assign(
        &mut speaking.active_level_dbov,
        settings.number("audio.active_level"),
    );
    assign(
        &mut speaking.active_percent_min,
        settings.number("audio.min_percentile"),
    );
    // Shorter than a packet would divide by nothing.
    let window_ms = settings.number::<u32>("audio.update_interval");
    assign(&mut speaking.window_ms, window_ms.map(|ms| ms.clamp(20, 60_000)));
    assign(
        &mut speaking.smooth_windows,
        settings.number("audio.smooth_intervals"),
    );
    for (throttle, quality) in tuning.key_frame_throttle.iter_mut().zip(["low", "mid", "high"]) {
        let path = format!("rtc.pli_throttle.{quality}_quality");
        assign(throttle, settings.duration(&path));
    }
    for (share, kind) in tuning.rtx.iter_mut().zip(["audio", "video"]) {
        let path = format!("rtc.rtx_budget.{kind}");
        let ratio = settings.number::<f64>(&format!("{path}.max_ratio"));
        // 0 and less are no limit. What is set and less than 1/1000 is not that.
        let permille = ratio.map(|ratio| match ratio {
            ratio if ratio <= 0.0 => 0,
            ratio => (ratio * 1000.0).clamp(1.0, 1e6) as u32,
        });
        assign(&mut share.max_permille, permille);
        assign(
            &mut share.burst_bytes,
            settings.number(&format!("{path}.burst_bytes")),
        );
    }
    assign(
        &mut tuning.slow_reader_bps,
        settings.number("rtc.datachannel_slow_threshold"),
    );
    assign(
        &mut tuning.lossy_latency,
        settings.duration("rtc.datachannel_lossy_target_latency"),
    );
    assign(
        &mut tuning.data_track_latency,
        settings.duration("rtc.datachannel_data_track_target_latency"),
    );
}

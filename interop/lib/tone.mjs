// The dominant frequency of a piece of sound, by the Goertzel algorithm over the tones in use.

/** Tones that tests use: far from each other's harmonics. */
export const TONES = [440, 620, 870, 1230, 1710, 2390];

/** Power of `hz` in `samples`, relative to the whole power (a pure tone gives 1). */
export function share(samples, rate, hz) {
  const coefficient = 2 * Math.cos((2 * Math.PI * hz) / rate);
  let [before, last, total] = [0, 0, 0];
  for (const sample of samples) {
    const next = sample + coefficient * last - before;
    before = last;
    last = next;
    total += sample * sample;
  }
  if (total === 0) return 0;
  const power = last * last + before * before - coefficient * last * before;
  return (2 * power) / (samples.length * total);
}

/** The tone that makes up most of `samples`, or 0 when none has at least half of the power. */
export function dominant(samples, rate) {
  let best = 0;
  let most = 0.5;
  for (const hz of TONES) {
    const part = share(samples, rate, hz);
    if (part > most) [best, most] = [hz, part];
  }
  return best;
}

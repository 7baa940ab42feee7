// The words of the step map and the plot: English here, other languages from the pack's locales.

const words = {
  planned: "planned",
  example: "example of {total} steps",
  counts: "{full} of {total} steps computed",
  inPart: "{partial} in part",
  skipped: "{skip} skipped",
  running: "step {current} of {total}",
  faster: "{speedup}x faster",
  kept: "{mb} MB kept",
  stopped: "stopped at step {step} of {total}",
  evaluations: "{full} of {total} evaluations computed",
  off: "off: every step is computed",
  noPlan: "The server does not answer, so no plan can be shown.",
  title: "FRDiff steps",
  step: "step {step} of {total}",
  steps: "steps {step} to {last} of {total}",
  full: "computed",
  partial: "computed in part",
  skip: "skipped",
  sigma: "sigma {sigma}",
  ms: "{ms} ms",
  seconds: "{seconds} s",
  error: "forecast error {error} %",
  changed: "planned: {planned}",
  front: "FRDiff speed and error",
  choose: "Choose a point with the arrow keys, and set the dial with Enter.",
  about: "{name}: {steps} steps, {sampler}, {scheduler}",
  measured: "measured",
  estimated: "estimated",
  uncalibrated: "uncalibrated",
  fewer: "fewer steps",
  pointError: "error {error} %",
  pointAbout: "error about {error} %",
  pointPrior: "uncalibrated {uncalibrated} %",
  pointFewer: "fewer steps {fewer} %",
  priorUsed: "the uncalibrated schedule is used",
  set: "dial set to {dial}",
  result: "FRDiff result",
  linked: "The dial is connected to another node.",
  slider: "Slide between A and B",
  parts: "{a} % A, {b} % B",
  imageA: "result A",
  imageB: "result B",
  difference: "difference x {factor}",
  badge: "save badge",
  frame: "frame",
  frameOf: "frame {frame} of {total}",
  play: "play",
  pause: "pause",
  run: "run",
  time: "time",
  speedup: "speed-up",
  computed: "computed",
  latentError: "error",
  ssim: "SSIM",
  better: "better"
}

/** Take the words of the language that the user has chosen, where the pack has them. */
export async function loadWords(api, app) {
  const language = app.extensionManager?.setting?.get?.("Comfy.Locale")
  if (!language || language === "en") return
  try {
    const all = await (await api.fetchApi("/i18n")).json()
    Object.assign(words, all[language]?.frdiff)
  } catch {
    // English words are better than none.
  }
}

/** A word or sentence with its values filled in. */
export function say(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key])
}

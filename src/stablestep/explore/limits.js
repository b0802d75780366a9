// The step limits of every result, and exact thresholds on quadratics, as src/stablestep/theorem and src/stablestep/message compute them.
// tests/explore holds each number here against theirs.
"use strict";
const StableStep = (() => {
  // ---- special functions -------------------------------------------------------------------------------------------------------------

  /** log Γ(x) for x > 0 (Lanczos, g = 7). */
  function logGamma(x) {
    const terms = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
      12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
    if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
    let sum = terms[0];
    for (let k = 1; k < 9; k++) sum += terms[k] / (x - 1 + k);
    const t = x + 6.5;
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  /** ℓ_ν = 2 Ξ_ν′(0), twice the density of Student's t at 0. */
  function slope(nu) {
    if (!Number.isFinite(nu)) return 2 / Math.sqrt(2 * Math.PI);
    if (nu > 1e6) return 2 / Math.sqrt(2 * Math.PI) * (1 - 1 / (4 * nu));
    return 2 * Math.exp(logGamma((nu + 1) / 2) - logGamma(nu / 2)) / Math.sqrt(nu * Math.PI);
  }

  /** χ(u) = 2(eᵘ − 1 − u)/u². */
  function chi(u) {
    if (u < 1) {
      let sum = 0, term = 1;
      for (let k = 0; k < 18; k++) { sum += term; term *= u / (k + 3); }
      return sum;
    }
    return 2 * (Math.expm1(u) - u) / (u * u);
  }

  /** ψ(ρ) = (e^{L1ρ} − 1 − L1ρ)/L1². */
  const psi = (length, L1) => length * length * chi(L1 * length) / 2;

  /** (e^{L1ρ} − 1)/L1. */
  const stretch = (length, L1) => L1 * length > 0 ? Math.expm1(L1 * length) / L1 : length;

  /** Where a falling function that is positive at 0 crosses 0; ∞ where it never does. */
  function lastPositive(f, guess = 1) {
    let low = guess, high = guess;
    for (let k = 0; !(f(low) > 0); k++) { if (k > 2000) return 0; low /= 2; }
    for (let k = 0; f(high) > 0; k++) { if (k > 200) return Infinity; low = high; high *= 2; }
    for (let k = 0; k < 200; k++) {
      const middle = (low + high) / 2;
      if (middle <= low || middle >= high) break;
      if (f(middle) > 0) low = middle; else high = middle;
    }
    return low;
  }

  /** u_ε with (eᵘ − 1 − u)/u = ε. */
  const uOf = (epsilon) => lastPositive((u) => epsilon - u * chi(u) / 2, epsilon);

  // ---- the constants -----------------------------------------------------------------------------------------------------------------

  /** What each method is described by, besides L0, L1, d, N, ε and ‖∇f‖. */
  const METHODS = {
    "sgd": { title: "SGD, compressed or not", inputs: ["omega", "shared", "sigma0", "sigma1"] },
    "signs": { title: "signs of gradients (DSignSGD)", inputs: ["nu", "scale"] },
    "signs-average": { title: "signs, then momentum at the server", inputs: ["nu", "scale", "beta"] },
    "momentum": { title: "heavy ball, compressed or not", inputs: ["omega", "shared", "sigma0", "sigma1", "beta"] },
    "ef": { title: "error feedback", inputs: ["alpha", "sigma0", "sigma1"] },
    "clip": { title: "clipped gradient descent", inputs: ["clip"] },
    "normalized": { title: "normalized steps", inputs: ["sigma0"] },
    "normalized-momentum": { title: "normalized steps of a momentum", inputs: ["sigma0", "beta"] },
    "normalized-ef": { title: "error feedback of normalized gradients", inputs: ["alpha"] },
    "normalized-ef21": { title: "normalized EF21", inputs: ["alpha"] },
  };
  const ALWAYS = ["L0", "L1", "dim", "count", "epsilon", "gradient"];

  /** Default, smallest and largest value, whether the slider is logarithmic, and what is impossible. */
  const INPUTS = {
    L0: { title: "L₀", value: 1, low: 1e-3, high: 1e3, log: true, zero: true, says: "of ‖∇²f‖ ≤ L₀ + L₁‖∇f‖" },
    L1: { title: "L₁", value: 1, low: 1e-3, high: 1e3, log: true, zero: true, says: "of ‖∇²f‖ ≤ L₀ + L₁‖∇f‖" },
    dim: { title: "d", value: 100, low: 1, high: 1e9, log: true, whole: true, least: 1, says: "dimension" },
    count: { title: "N", value: 4, low: 1, high: 1e4, log: true, whole: true, least: 1, says: "workers" },
    epsilon: { title: "ε", value: 0.5, low: 0.01, high: 0.99, open: [0, 1], says: "share of the descent that noise may take" },
    gradient: { title: "‖∇f‖", value: 1, low: 1e-4, high: 1e4, log: true, zero: true, says: "gradient norm where the step is made" },
    omega: { title: "ω", value: 9, low: 1e-2, high: 1e4, log: true, zero: true, says: "E‖C(g) − g‖² ≤ ω‖g‖²" },
    shared: { title: "one mask for all", value: 0, flag: true, says: "its noise is then not averaged over workers" },
    sigma0: { title: "σ₀", value: 0.1, low: 1e-4, high: 1e2, log: true, zero: true, says: "noise of each coordinate: variance σ₀² + σ₁²‖∇f‖²" },
    sigma1: { title: "σ₁", value: 0, low: 1e-4, high: 10, log: true, zero: true, says: "the part that grows with the gradient" },
    nu: { title: "ν", value: 2.5, low: 0.2, high: 100, log: true, above: 0, infinite: true, says: "tail of the noise; ∞ is Gaussian" },
    scale: { title: "σ", value: 1, low: 1e-4, high: 1e3, log: true, zero: true, says: "scale of the noise of each coordinate" },
    beta: { title: "β", value: 0.9, low: 0, high: 0.999, least: 0, below: 1, says: "momentum" },
    alpha: { title: "α", value: 0.1, low: 1e-4, high: 1, log: true, above: 0, most: 1, says: "E‖C(v) − v‖² ≤ (1 − α)‖v‖²" },
    clip: { title: "c", value: 1, low: 1e-3, high: 1e3, log: true, above: 0, says: "threshold of the clipping" },
  };

  /** What is wrong with a value, in a sentence, or null. */
  function wrong(name, value) {
    const one = INPUTS[name];
    if (Number.isNaN(value)) return "is no number";
    if (one.flag) return value === 0 || value === 1 ? null : "must be 0 or 1";
    if (!Number.isFinite(value) && !(one.infinite && value > 0)) return "must be finite";
    if (value < 0) return "must be at least 0";
    if (one.whole && (value % 1 !== 0 || value < 1)) return "must be a whole number of at least 1";
    if (one.open && !(value > one.open[0] && value < one.open[1])) return `must be between ${one.open[0]} and ${one.open[1]}`;
    if (one.above !== undefined && !(value > one.above)) return `must be above ${one.above}`;
    if (one.below !== undefined && !(value < one.below)) return `must be below ${one.below}`;
    if (one.most !== undefined && value > one.most) return `must be at most ${one.most}`;
    return null;
  }

  /** A and B, the growth of the messages' covariance with ‖∇f‖² and what is left at a stationary point, times N. */
  function growth(c) {
    const noise = c.dim * c.sigma1 ** 2 * (1 + c.omega);
    return {
      compression: c.omega * (c.shared ? c.count : 1),
      A: c.omega * (c.shared ? c.count : 1) + noise,
      B: c.dim * c.sigma0 ** 2 * (1 + c.omega),
    };
  }

  /** The constants of a method: what it does not have is absent, or 0. */
  function constants(inputs) {
    const known = [...ALWAYS, ...METHODS[inputs.method].inputs];
    const c = { method: inputs.method, omega: 0, shared: 0, sigma0: 0, sigma1: 0 };
    for (const name of known) c[name] = inputs[name];
    if (c.alpha !== undefined) { c.s = Math.sqrt(1 - c.alpha); c.gain = c.s * (1 + c.s) / c.alpha; }
    return c;
  }

  // ---- the results -------------------------------------------------------------------------------------------------------------------

  const is = (...methods) => (c) => methods.includes(c.method) ? null : "about another method";
  const both = (...tests) => (c) => tests.map((test) => test(c)).find((reason) => reason !== null) ?? null;
  const uncompressed = (c) => c.omega === 0 ? null : "needs ω = 0";
  const bounded = (c) => c.sigma1 === 0 ? null : "needs σ₁ = 0";
  const smooth = (c) => c.L1 === 0 ? null : "needs L₁ = 0";
  const tail = (c) => c.nu >= 1 ? null : "needs ν ≥ 1";
  const single = (c) => c.count === 1 ? null : "needs N = 1";

  /** Denominator of the limit of a result on unbiased messages, part by part; the limit is 2ε over their sum. */
  function parts(c, own) {
    const { compression, A, B } = growth(c), curvature = c.L0 + c.L1 * c.gradient;
    return {
      landscape: curvature * own,
      compression: curvature * compression / c.count,
      noise: curvature * (A - compression) / c.count + c.L1 * B / c.count,
    };
  }
  const over = (above, below) => below > 0 ? above / below : Infinity;
  const unbiased = (own) => (c) => {
    const { landscape, compression, noise } = parts(c, own(c));
    return over(2 * c.epsilon, landscape + compression + noise);
  };
  const theta = (c) => (1 - c.beta) / (1 + c.beta);

  function printedSigns(c, first) {
    const ell = slope(c.nu), half = c.dim / (2 * c.count) * c.scale;
    const noise = first ? 0 : (c.L0 + c.L1) * Math.sqrt(c.dim) * ell / 2;
    return over(ell, half * c.L1 + noise);
  }

  function masked(c) {
    const most = 1 + c.omega, second = 1 + growth(c).A / c.count, curvature = (c.L0 + c.L1 * c.gradient) * second;
    if (curvature === 0) return Infinity;
    if (c.L1 > 0 && Math.abs(second - most) <= 1e-9 * Math.max(second, most)) return uOf(c.epsilon) / curvature;
    return lastPositive((h) => 2 * c.epsilon - h * curvature * chi(c.L1 * h * most * c.gradient), c.epsilon / curvature);
  }

  const unit = (c) => 1 / (c.L1 || c.L0 || 1);
  const bracketed = (bracket) => (c) => lastPositive((h) => bracket(c, h), unit(c));
  const directed = (s) => bracketed((c, h) => 1 - c.L1 * psi(h, c.L1) / h - 2 * s(c) / (1 - s(c)) * c.L1 * stretch(h, c.L1));

  function averagedSigns(c, h) {
    const radius = Math.sqrt(c.dim), delay = c.beta / (1 - c.beta);
    const moved = psi(radius * h, c.L1) * Math.exp(c.L1 * radius * h * delay) + h * radius * stretch(radius * h * delay, c.L1);
    return 1 - c.L1 * moved / h;
  }

  function heavyBall(c, h) {
    const step = c.L0 * h, grown = step + (c.beta / (1 - c.beta) * step) ** 2;
    return 1 - grown * (1 + growth(c).A / c.count);
  }

  function feedback(c, h) {
    const relative = c.dim * c.sigma1 ** 2;
    return 1 - c.L0 * h * (1 + relative / c.count) - (1 + relative) * (c.L0 * c.gain * h) ** 2;
  }

  /** name, what it is about, when it does not apply, its limit on ηη_t, and the printed one where it differs. */
  const RESULTS = [
    { name: "4.2", about: "SDE that matches the loss", fails: is("sgd"), limit: unbiased(() => 1) },
    { name: "B.2", about: "the same, without compression", fails: both(is("sgd"), uncompressed), limit: unbiased(() => 1) },
    { name: "B.5", about: "the same, bounded variance", fails: both(is("sgd"), bounded), limit: unbiased(() => 1) },
    { name: "4.1", about: "first-order SDE", fails: is("sgd"), limit: unbiased(() => 0) },
    { name: "B.1", about: "the same, without compression", fails: both(is("sgd"), uncompressed), limit: unbiased(() => 0) },
    { name: "B.3", about: "the same, bounded variance", fails: both(is("sgd"), bounded), limit: unbiased(() => 0) },
    { name: "discrete.dcsgd", about: "the optimizer itself, without gradient noise",
      fails: both(is("sgd"), (c) => c.sigma0 === 0 && c.sigma1 === 0 ? null : "needs σ₀ = σ₁ = 0"), limit: masked },
    { name: "4.3", about: "SDE that matches the loss", fails: both(is("signs"), tail), limit: (c) => over(2, c.dim * c.L1),
      printed: (c) => printedSigns(c, false) },
    { name: "B.8", about: "first-order SDE", fails: both(is("signs"), tail), limit: (c) => over(2 * c.count, c.dim * c.L1),
      printed: (c) => printedSigns(c, true) },
    { name: "discrete.sign", about: "the optimizer itself", fails: both(is("signs"), tail),
      limit: bracketed((c, h) => 1 - c.L1 * psi(Math.sqrt(c.dim) * h, c.L1) / h) },
    { name: "discrete.sign-average", about: "the optimizer itself; effective step η/(1 − β)", fails: both(is("signs-average"), tail),
      limit: bracketed(averagedSigns) },
    { name: "momentum", about: "SDE with momentum; effective step η/(1 − β)", fails: is("momentum"), limit: unbiased(theta) },
    { name: "discrete.momentum", about: "the optimizer itself; effective step η/(1 − β)", fails: both(is("momentum"), smooth),
      limit: bracketed(heavyBall) },
    { name: "ef", about: "the optimizer itself", fails: both(is("ef"), smooth), limit: bracketed(feedback) },
    { name: "discrete.clip", about: "the optimizer itself", fails: is("clip"), limit: (c) => {
      const curvature = c.L0 + c.L1 * c.clip;
      return curvature === 0 ? Infinity
        : lastPositive((h) => 2 * c.epsilon - h * curvature * chi(c.L1 * h * c.clip), c.epsilon / curvature);
    } },
    { name: "discrete.normalized", about: "the optimizer itself; the step's length", fails: is("normalized"),
      limit: bracketed((c, h) => 1 - c.L1 * psi(h, c.L1) / h) },
    { name: "discrete.normalized-momentum", about: "the optimizer itself; the step's length", fails: is("normalized-momentum"),
      limit: directed((c) => c.beta) },
    { name: "discrete.normalized-ef", about: "the optimizer itself", fails: both(is("normalized-ef"), single),
      limit: bracketed((c, h) => 1 - c.L1 * (psi(h, c.L1) / h + 2 * stretch(c.gain * h, c.L1))) },
    { name: "discrete.normalized-ef21", about: "the optimizer itself; the step's length", fails: is("normalized-ef21"),
      limit: directed((c) => c.s) },
  ];

  /** Every result's limit, or why it has none: [{name, about, limit, printed, reason}]. */
  function results(inputs) {
    const c = constants(inputs);
    return RESULTS.map(({ name, about, fails, limit, printed }) => {
      const reason = fails(c);
      return reason === null
        ? { name, about, limit: limit(c), printed: printed ? printed(c) : null, reason }
        : { name, about, limit: null, printed: null, reason };
    });
  }

  /** How much landscape, compression and noise make of the covering limit's denominator, where it is on unbiased messages. */
  function shares(inputs) {
    const c = constants(inputs);
    if (c.method !== "sgd" && c.method !== "momentum") return null;
    const found = parts(c, c.method === "sgd" ? 1 : theta(c));
    const whole = found.landscape + found.compression + found.noise;
    return whole > 0 ? Object.fromEntries(Object.entries(found).map(([name, part]) => [name, part / whole])) : null;
  }

  /** (a, b) of the safe step 1/(a + b‖∇f‖) of 4.2, or of the theorem on momentum. */
  function normalization(inputs) {
    if (inputs.method !== "sgd" && inputs.method !== "momentum") return null;
    const at = (gradient) => {
      const c = constants({ ...inputs, gradient });
      return 1 / unbiased(c.method === "sgd" ? () => 1 : theta)(c);
    };
    const a = at(0);
    return { a, b: at(1) - a };
  }

  // ---- exact thresholds on ½ λ ‖x‖² --------------------------------------------------------------------------------------------------

  /** The largest η at which E‖x_k‖² stays bounded on λ = L0, for Bernoulli masks that keep a share p = 1/(1 + ω), noise σ₁. */
  function thresholds({ L0, dim, count, omega, shared, sigma1, beta }) {
    const p = 1 / (1 + omega), workers = shared ? 1 : count, q = 1 - p;
    const s = dim * sigma1 ** 2 / (shared ? count : 1);
    const a = omega / workers + s * (1 + omega) / workers;
    const quadratic = workers * (workers * p * p + 4 * q + s * p * (2 - p)), bent = 2 * s * q * (workers - 1);
    const constant = 2 * workers * workers * p * (2 - p);
    const feedback = bent > 0 ? 2 * constant / (quadratic + Math.sqrt(quadratic ** 2 + 4 * bent * constant)) : constant / quadratic;
    return {
      "SGD": over(2, L0 * (1 + a)),
      "heavy ball": over(2 * (1 + beta), L0 * (1 + a * (1 + beta) / (1 - beta))),
      "error feedback": over(feedback, L0),
      "EF21": over(2 * workers * p * (2 - p), L0 * (workers * p * p + 4 * q + s * (2 - p) ** 2)),
    };
  }

  return { ALWAYS, INPUTS, METHODS, constants, normalization, results, shares, thresholds, wrong };
})();
if (typeof module !== "undefined") module.exports = StableStep;

"""Synthetic series as infrastructure emits them, drawn `count` at a time as `[count, length]` arrays.

Half of the series are compositions of Gaussian processes, periodic templates, noise and events (in the
manner of KernelSynth, Ansari et al. 2024, section 4); the other half imitate metrics of the field:
request rates, latencies, utilisation, memory with restarts, queues, batch jobs, error counts, states.
All functions draw from the generator they are given and from nothing else.
"""

import numpy as np
from numpy.random import Generator

Array = np.ndarray

PERIODS = np.array(
    [6, 7, 10, 12, 15, 20, 24, 24, 24, 30, 36, 48, 48, 60, 60, 72, 96, 96, 100, 120, 144, 144, 168, 168, 180, 200]
    + [240, 288, 288, 288, 288, 336, 360, 480, 504, 576, 672]
)
STEPS_PER_DAY = np.array([24, 24, 48, 96, 144, 288, 288, 288, 288, 288, 720, 1440, 1440, 2880, 5760])


def column(values: Array) -> Array:
    """One value per series, as a column to broadcast over time."""
    return np.asarray(values)[:, None]


def chance(rng: Generator, n: int, p: float) -> Array:
    """A column of booleans that are true with probability `p`."""
    return rng.random((n, 1)) < p


def between(rng: Generator, n: int, low: float, high: float) -> Array:
    """A column drawn uniformly on a logarithmic scale."""
    return np.exp(rng.uniform(np.log(low), np.log(high), (n, 1)))


def standard(x: Array) -> Array:
    """Each series with mean 0 and standard deviation 1."""
    x = x - x.mean(1, keepdims=True)
    return x / (x.std(1, keepdims=True) + 1e-9)


def gaussian_process(rng: Generator, n: int, length: int) -> Array:
    """Stationary Gaussian processes with a random kernel: RBF, two Matérn-like, power law."""
    f = np.fft.rfftfreq(2 * length)[None, :] + 1e-9
    kind = column(rng.integers(0, 4, n))
    w = 2 * np.pi * f * between(rng, n, 2, length / 2)
    power = np.where(
        kind == 0,
        np.exp(-0.5 * np.minimum(w, 30) ** 2),
        np.where(
            kind == 1,
            1 / (1 + w**2),
            np.where(kind == 2, 1 / (1 + w**2) ** 2, f ** (-rng.uniform(0.3, 2.2, (n, 1)))),
        ),
    )
    power[:, 0] = 0
    z = (rng.standard_normal(power.shape) + 1j * rng.standard_normal(power.shape)) * np.sqrt(power)
    return standard(np.fft.irfft(z, axis=1)[:, :length])


def noise(rng: Generator, n: int, length: int) -> Array:
    """White, autoregressive and moving-average noise, Gaussian or with heavy tails."""
    f = np.fft.rfftfreq(2 * length)[None, :]
    w = np.exp(-2j * np.pi * f)
    ar = np.where(chance(rng, n, 0.45), 0.0, rng.beta(3, 1.2, (n, 1)) * 0.995)
    ma = np.where(chance(rng, n, 0.3), rng.uniform(-0.8, 0.8, (n, 1)), 0)
    white = rng.standard_normal((n, 2 * length))
    heavy = rng.random(n) < 0.4
    freedom = rng.choice([3.0, 4.0, 6.0], (int(heavy.sum()), 1))
    white[heavy] /= np.sqrt(rng.chisquare(freedom, (len(freedom), 2 * length)) / freedom)
    x = np.fft.irfft(np.fft.rfft(white, axis=1) * (1 + ma * w) / (1 - ar * w), axis=1)[:, length:]
    return x / (x.std(1, keepdims=True) + 1e-6)


def random_walk(rng: Generator, n: int, length: int) -> Array:
    """Random walks, a third of them with heavy-tailed steps, some of rare steps."""
    step = rng.standard_normal((n, length))
    step = np.where(chance(rng, n, 0.3), step * np.abs(step), step)
    step = np.where(chance(rng, n, 0.2), step * (rng.random((n, length)) < between(rng, n, 0.01, 0.5)), step)
    return standard(np.cumsum(step, 1))


def template(rng: Generator, phase: Array) -> Array:
    """A random periodic shape evaluated at `phase` in [0, 1): harmonics, bump, plateau, saw, duty cycle."""
    n = len(phase)
    kind = rng.choice(6, n, p=[0.2, 0.2, 0.17, 0.17, 0.11, 0.15])
    x = np.empty_like(phase)
    smooth = kind < 2
    x[smooth] = _harmonics(rng, phase[smooth])
    width = between(rng, n, 0.02, 0.35)
    away = np.abs((phase - rng.random((n, 1)) + 0.5) % 1 - 0.5)
    sharp = between(rng, n, 12, 240)
    rows = kind == 2
    x[rows] = np.exp(-0.5 * (away[rows] / width[rows]) ** 2)
    rows = kind == 3
    x[rows] = 1 / (1 + np.exp(np.clip(sharp[rows] * (away[rows] - width[rows]), -50, 50)))
    rows = kind == 4
    x[rows] = np.where(chance(rng, int(rows.sum()), 0.5), phase[rows], 1 - phase[rows])
    rows = kind == 5
    x[rows] = phase[rows] < np.clip(1.6 * width[rows], 0.02, 0.6)
    return x


def _harmonics(rng: Generator, phase: Array) -> Array:
    n = len(phase)
    most, fade = rng.integers(1, 9, (n, 1)), rng.uniform(0.3, 2, (n, 1))
    x = np.zeros_like(phase)
    for h in range(1, 9):
        size = rng.standard_normal((n, 1)) / h**fade * (h <= most)
        x += size * np.sin(2 * np.pi * (h * phase + rng.random((n, 1))))
    return x


def periodic(rng: Generator, n: int, length: int, period: Array | None = None) -> tuple[Array, Array]:
    """Periodic series and their periods; some drift in phase or size, some rest on two days of seven."""
    if period is None:
        stretch = np.where(rng.random(n) < 0.25, np.exp(rng.normal(0, 0.25, n)), 1.0)
        period = rng.choice(PERIODS, n) * stretch
    p = column(period)
    t = np.arange(length)[None, :] + rng.uniform(0, 7 * p)
    drift = np.where(chance(rng, n, 0.1), gaussian_process(rng, n, length) * rng.uniform(0, 0.08, (n, 1)), 0)
    x = template(rng, (t / p + drift) % 1.0)
    rest = chance(rng, n, 0.25) & ((t // p) % 7 < rng.integers(1, 3, (n, 1)))
    x = standard(np.where(rest, x * rng.uniform(0, 0.8, (n, 1)), x))
    swell = np.where(chance(rng, n, 0.25), 0.35 * gaussian_process(rng, n, length), 0)
    return x * (1 + swell), period


def spikes(rng: Generator, n: int, length: int, low: float = 0.0015, high: float = 0.03) -> Array:
    """Positive spikes at random times, half of them decaying geometrically (retries, warm-up)."""
    hit = (rng.random((n, length)) < between(rng, n, low, high)) * rng.lognormal(0, 0.8, (n, length))
    decay = np.where(chance(rng, n, 0.5), 0, rng.uniform(0.3, 0.95, (n, 1)))
    response = 1 / (1 - decay * np.exp(-2j * np.pi * np.fft.rfftfreq(2 * length))[None, :])
    return np.fft.irfft(np.fft.rfft(hit, 2 * length, axis=1) * response, axis=1)[:, :length]


def events(rng: Generator, n: int, length: int) -> Array:
    """Level shifts (deploys), ramps with a reset, spikes, plateaus of limited length."""
    t = np.arange(length)[None, :]
    x = np.zeros((n, length))
    for _ in range(3):
        x += chance(rng, n, 0.15) * (t >= rng.uniform(0, length, (n, 1))) * rng.normal(0, 1.2, (n, 1))
    ramp = (t + rng.uniform(0, length, (n, 1))) / between(rng, n, 30, length) % 1
    x += chance(rng, n, 0.08) * ramp * rng.normal(0, 1.5, (n, 1))
    sign = np.sign(rng.random((n, 1)) - 0.15)
    x += chance(rng, n, 0.4) * sign * rng.uniform(1, 6, (n, 1)) * spikes(rng, n, length)
    for _ in range(2):
        start, width = rng.uniform(0, length, (n, 1)), rng.uniform(5, 200, (n, 1))
        x += chance(rng, n, 0.08) * ((t >= start) & (t < start + width)) * rng.normal(0, 2, (n, 1))
    return x


def composition(rng: Generator, n: int, length: int) -> Array:
    """Sums and products of periodic series, Gaussian processes, walks, trends, noise and events."""
    season, period = periodic(rng, n, length)
    other = np.where(rng.random(n) < 0.5, period * 7, period / rng.integers(2, 13, n)).clip(3, 900)
    second, _ = periodic(rng, n, length, other)
    process = gaussian_process(rng, n, length)

    def size(p: float, centre: float, width: float) -> Array:
        return chance(rng, n, p) * np.exp(rng.normal(centre, width, (n, 1)))

    trend = np.linspace(-1, 1, length)[None, :] * chance(rng, n, 0.3) * rng.normal(0, 1, (n, 1))
    x = size(0.68, 0, 0.6) * season + size(0.35, -0.7, 0.6) * second + size(0.45, -0.4, 0.8) * process
    x = x + size(0.2, -0.2, 0.8) * random_walk(rng, n, length) + trend
    x = np.where(chance(rng, n, 0.08), season * process, x)
    wild = np.where(chance(rng, n, 0.25), np.exp(0.6 * np.clip(standard(x), -3, 3)), 1)
    wild = wild * np.where(chance(rng, n, 0.15), np.exp(0.7 * gaussian_process(rng, n, length)), 1)
    x = x + between(rng, n, 0.01, 1.5) * noise(rng, n, length) * wild
    return x + chance(rng, n, 0.5) * events(rng, n, length)


def load(rng: Generator, n: int, length: int) -> Array:
    """Demand in arbitrary positive units: a daily shape, quieter weekends, drift, autocorrelated noise."""
    day = column(rng.choice(STEPS_PER_DAY, n))
    t = np.arange(length)[None, :] + np.floor(rng.uniform(0, 7 * day))
    shape = template(rng, t / day % 1.0)
    x = 0.7 * standard(_harmonics(rng, t / day % 1.0)) + 0.5 * chance(rng, n, 0.6) * standard(shape)
    weekend = (t // day) % 7 < 2
    x = np.where(weekend & chance(rng, n, 0.6), x * rng.uniform(0.2, 1, (n, 1)) - rng.uniform(0, 1, (n, 1)), x)
    x = x * between(rng, n, 0.05, 1.2) + between(rng, n, 0.02, 0.4) * gaussian_process(rng, n, length)
    hourly = template(rng, t / (day / 24).clip(2) % 1.0)
    x = x + chance(rng, n, 0.25) * between(rng, n, 0.05, 0.8) * standard(hourly)
    return np.exp(np.clip(x, -4, 4) + between(rng, n, 0.005, 0.5) * noise(rng, n, length))


def request_rate(rng: Generator, n: int, length: int) -> Array:
    """Counts of arrivals over a load, over-dispersed at times, with bursts."""
    rate = load(rng, n, length) * between(rng, n, 0.3, 3000)
    shape = between(rng, n, 1, 300)
    uneven = rate * rng.gamma(shape, 1 / shape, (n, length))
    rate = np.where(chance(rng, n, 0.4), uneven, rate)
    rate = rate * (1 + chance(rng, n, 0.35) * between(rng, n, 0.5, 8) * spikes(rng, n, length, 0.001, 0.02))
    return rng.poisson(np.minimum(rate, 1e7)).astype(float)


def latency(rng: Generator, n: int, length: int) -> Array:
    """Response times: log-normal around a base, growing as 1 / (1 - utilisation), with slow outliers."""
    demand = load(rng, n, length)
    used = rng.uniform(0.3, 0.97, (n, 1)) * demand / np.quantile(demand, 0.98, axis=1, keepdims=True)
    queue = np.where(chance(rng, n, 0.6), 1 / (1 - np.clip(used, 0, 0.97)), 1.0)
    spread = between(rng, n, 0.01, 0.6)
    x = queue * np.exp(spread * noise(rng, n, length))
    return x * (1 + chance(rng, n, 0.5) * between(rng, n, 0.5, 10) * spikes(rng, n, length, 0.001, 0.05))


def utilisation(rng: Generator, n: int, length: int) -> Array:
    """Per cent of a resource: load plus batch jobs plus noise, clipped at its capacity."""
    x = load(rng, n, length) * between(rng, n, 2, 60) + batch_jobs(rng, n, length) * between(rng, n, 1, 60)
    x = x + between(rng, n, 0.05, 6) * noise(rng, n, length)
    return np.clip(x, 0, np.where(chance(rng, n, 0.7), 100, rng.uniform(20, 100, (n, 1))))


def batch_jobs(rng: Generator, n: int, length: int) -> Array:
    """On-off work on a schedule: the start jitters, size and duration differ from run to run."""
    period = between(rng, n, 5, 400)
    period = np.where(chance(rng, n, 0.7), np.round(period), period)
    t = np.arange(length)[None, :] + rng.uniform(0, 1, (n, 1)) * period
    run = (t // period).astype(int)
    draws = rng.standard_normal((n, length // 5 + 8))
    per_run = np.take_along_axis(draws, run % draws.shape[1], 1)
    late = np.take_along_axis(draws, (run + 3) % draws.shape[1], 1)
    at = (t / period) % 1 - 0.05 * chance(rng, n, 0.4) * np.abs(late)
    duty = rng.uniform(0.03, 0.6, (n, 1)) * np.exp(chance(rng, n, 0.4) * 0.3 * per_run)
    on = (at >= 0) & (at < duty)
    shape = np.where(chance(rng, n, 0.3), np.exp(-np.clip(at, 0, 1) / duty), 1.0)
    missed = chance(rng, n, 0.2) & (late > 1.5)
    x = on * shape * np.exp(chance(rng, n, 0.5) * 0.3 * per_run) * ~missed
    return x + between(rng, n, 0.003, 0.2) * np.abs(noise(rng, n, length))


def memory(rng: Generator, n: int, length: int) -> Array:
    """Growth with collections or restarts: the fractional part of an integrated random rate."""
    demand = np.where(chance(rng, n, 0.5), load(rng, n, length), 1.0)
    rate = demand / demand.mean(1, keepdims=True) * np.exp(0.4 * gaussian_process(rng, n, length))
    grown = np.cumsum(rate, 1) / between(rng, n, 8, 3 * length) + rng.random((n, 1))
    cycle = np.floor(grown).astype(int)
    base = np.take_along_axis(rng.standard_normal((n, length)), cycle % length, 1)
    x = grown - cycle + chance(rng, n, 0.4) * 0.1 * base
    x = np.where(chance(rng, n, 0.15), grown, x)
    x = np.where(chance(rng, n, 0.2), 1 - np.exp(-3 * (grown - cycle)), x)
    return x + between(rng, n, 0.0005, 0.1) * noise(rng, n, length)


def queue(rng: Generator, n: int, length: int) -> Array:
    """The depth of a queue: a walk of arrivals less capacity, reflected at zero."""
    demand = load(rng, n, length)
    spare = rng.uniform(0.02, 0.5, (n, 1))
    net = demand / demand.mean(1, keepdims=True) - 1 - spare
    net = net * rng.uniform(0.2, 1, (n, 1)) + between(rng, n, 0.1, 2) * noise(rng, n, length)
    walk = np.cumsum(net, 1)
    depth = walk - np.minimum(np.minimum.accumulate(walk, 1), 0)
    return np.where(chance(rng, n, 0.5), np.round(depth * between(rng, n, 1, 20)), depth)


def errors(rng: Generator, n: int, length: int) -> Array:
    """Mostly zero: rare counts in bursts, or values now and then."""
    level = np.log(between(rng, n, 0.01, 2)) + chance(rng, n, 0.5) * gaussian_process(rng, n, length)
    level = level + chance(rng, n, 0.3) * np.log(load(rng, n, length))
    burst = chance(rng, n, 0.5) * between(rng, n, 1, 20) * spikes(rng, n, length, 0.001, 0.02)
    counts = rng.poisson(np.exp(np.clip(level, -8, 5)) + np.minimum(burst, 1e4)).astype(float)
    sizes = np.exp(np.clip(noise(rng, n, length), -4, 4))
    return np.where(chance(rng, n, 0.3), np.minimum(counts, 1) * sizes, counts)


def states(rng: Generator, n: int, length: int) -> Array:
    """Regimes that last a random time; each has a level and a noise of its own."""
    change = rng.random((n, length)) < between(rng, n, 0.002, 0.1)
    which = np.cumsum(change, 1)
    kinds = rng.integers(2, 6, (n, 1))
    revisit = rng.integers(0, 1 << 30, (n, length))
    revisit = np.take_along_axis(revisit, which, 1) % kinds
    index = np.where(chance(rng, n, 0.6), revisit, which)
    level = np.take_along_axis(rng.standard_normal((n, length)), index, 1)
    width = np.exp(chance(rng, n, 0.4) * np.take_along_axis(rng.standard_normal((n, length)), index, 1))
    quiet = np.where(chance(rng, n, 0.25), 0.0, between(rng, n, 0.01, 1))
    return level + quiet * width * noise(rng, n, length)


def sensor(rng: Generator, n: int, length: int) -> Array:
    """Slow physical quantities: temperature, disk usage; smooth against their own range."""
    walk = np.where(chance(rng, n, 0.5), gaussian_process(rng, n, length), random_walk(rng, n, length))
    daily = np.log(load(rng, n, length))
    x = walk + chance(rng, n, 0.6) * between(rng, n, 0.05, 1.5) * standard(daily)
    return x + between(rng, n, 0.001, 0.3) * noise(rng, n, length)


def steady(rng: Generator, n: int, length: int) -> Array:
    """Barely predictable: noise around a level, of any tail and skew, sometimes two-valued."""
    x = noise(rng, n, length)
    x = np.where(chance(rng, n, 0.35), np.exp(np.clip(x * rng.uniform(0.2, 1.2, (n, 1)), -6, 5)), x)
    x = np.where(chance(rng, n, 0.12), x > rng.uniform(-1.5, 2, (n, 1)), x)
    x = x + chance(rng, n, 0.4) * between(rng, n, 0.1, 1) * gaussian_process(rng, n, length)
    return x + chance(rng, n, 0.4) * rng.uniform(1, 8, (n, 1)) * spikes(rng, n, length)


FAMILIES = (
    (composition, 0.44),
    (request_rate, 0.09),
    (latency, 0.06),
    (utilisation, 0.09),
    (batch_jobs, 0.03),
    (memory, 0.05),
    (queue, 0.03),
    (errors, 0.04),
    (states, 0.04),
    (sensor, 0.07),
    (steady, 0.06),
)


def observe(rng: Generator, x: Array) -> Array:
    """What is recorded of a series: as it is, exponentiated, counted, clipped, rounded, thinned or smoothed."""
    n, length = x.shape
    kind = rng.choice(8, n, p=[0.5, 0.1, 0.07, 0.07, 0.08, 0.03, 0.03, 0.12])
    z = standard(x)
    for which, change in enumerate((None, _exponential, _counts, _clipped, _rounded, _rectified, _thinned, _smoothed)):
        rows = kind == which
        if change is not None and rows.any():
            x[rows] = change(rng, z[rows])
    return x


def _exponential(rng: Generator, z: Array) -> Array:
    return np.exp(np.clip(z * rng.uniform(0.3, 1.0, (len(z), 1)), -8, 6))


def _counts(rng: Generator, z: Array) -> Array:
    return rng.poisson(np.exp(np.clip(0.8 * z + rng.uniform(-1, 3.5, (len(z), 1)), -6, 7))).astype(float)


def _clipped(rng: Generator, z: Array) -> Array:
    low, high = np.quantile(z, 0.05, axis=1)[:, None], np.quantile(z, 0.93, axis=1)[:, None]
    return np.clip(z, np.where(chance(rng, len(z), 0.6), low, -1e9), np.where(chance(rng, len(z), 0.6), high, 1e9))


def _rounded(rng: Generator, z: Array) -> Array:
    unit = between(rng, len(z), 0.02, 1.0)
    return np.round(z / unit) * unit


def _rectified(rng: Generator, z: Array) -> Array:
    return np.maximum(z - np.median(z, axis=1, keepdims=True), 0)


def _thinned(rng: Generator, z: Array) -> Array:
    return np.where(rng.random(z.shape) < rng.uniform(0.02, 0.5, (len(z), 1)), np.exp(np.clip(z, -5, 5)), 0)


def _smoothed(rng: Generator, z: Array) -> Array:
    """A trailing mean, as `rate(x[5m])` gives at a step of a minute."""
    total = np.cumsum(np.pad(z, ((0, 0), (1, 0))), 1)
    width = rng.integers(2, 13, (len(z), 1))
    right = np.arange(1, z.shape[1] + 1)[None, :]
    left = np.maximum(right - width, 0)
    return (np.take_along_axis(total, right + 0 * left, 1) - np.take_along_axis(total, left, 1)) / (right - left)


def draw(rng: Generator, n: int, length: int) -> Array:
    """`n` standardised series of `length` points, `[n, length]` in f32, in no order of family."""
    share = np.array([p for _, p in FAMILIES])
    counts = rng.multinomial(n, share / share.sum())
    parts = [family(rng, k, length) for (family, _), k in zip(FAMILIES, counts) if k]
    x = observe(rng, np.nan_to_num(np.concatenate(parts)))
    x = np.clip(np.nan_to_num(standard(x)), -50, 50).astype(np.float32)
    return x[rng.permutation(n)]

//! Numbers out of text, in the forms in which Go writes them.

/// Powers of ten that a double holds exactly: dividing an exact mantissa by one is rounded once, so it is right.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The same byte in all sixteen places.
const fn every(byte: u8) -> u128 {
    u128::from_le_bytes([byte; 16])
}

/// The lowest mask that keeps `bytes` bytes.
const fn low(bytes: u32) -> u128 {
    (1 << (8 * bytes)) - 1
}

/// Where the first byte of `word` that equals `byte` is. (The classic search for a zero byte: what lies above the
/// first match may be wrong, the first match is right.)
#[inline(always)]
fn find(word: u128, byte: u8) -> Option<u32> {
    let differs = word ^ every(byte);
    let zeros = differs.wrapping_sub(every(1)) & !differs & every(0x80);
    (zeros != 0).then(|| zeros.trailing_zeros() / 8)
}

/// Eight digits, the most significant in the lowest byte, each as its value (not its character), by three
/// multiplications: pairs, then fours, then all eight.
#[inline(always)]
fn eight(digits: u64) -> u64 {
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let fours = (pairs & MASK).wrapping_mul(0x000f_4240_0000_0064);
    let rest = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    fours.wrapping_add(rest) >> 32
}

/// A plain decimal number that begins `text` and is ended by a quote within it, and how many bytes it takes
/// without the quote; `None` for anything longer or less plain, which [`value`] reads.
#[inline(always)]
pub(super) fn short(text: [u8; 16]) -> Option<(f64, usize)> {
    let minus = usize::from(text[0] == b'-');
    let word = u128::from_le_bytes(text) >> (8 * minus);
    let (size, length) = match tiny(word as u64) {
        Some(number) => number,
        None => decimal(word)?,
    };
    Some((if minus == 1 { -size } else { size }, length + minus))
}

/// [`decimal`] for numbers of up to seven bytes, in half the work: most metrics' values are that short.
#[inline(always)]
fn tiny(word: u64) -> Option<(f64, usize)> {
    const fn every(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let find = |word: u64, byte: u8| {
        let differs = word ^ every(byte);
        differs.wrapping_sub(every(1)) & !differs & every(0x80)
    };
    let quotes = find(word, b'"');
    if quotes == 0 {
        return None;
    }
    let end = quotes.trailing_zeros() & !7;
    let dots = find(word, b'.') & ((1 << end) - 1);
    let dot = if dots == 0 { end } else { dots.trailing_zeros() & !7 };
    let whole = (1 << dot) - 1;
    let digits = (word & whole) | ((word >> 8) & !whole);
    let point = u32::from(dots != 0) * 8;
    let (bits, decimals) = (end - point, end - point - dot.min(end - point));
    if dot == 0 || (point != 0 && decimals == 0) {
        return None;
    }
    // To the top, so that zeros stand in front of the number and what followed it falls out.
    let digits = (digits ^ every(b'0')) << (64 - bits);
    if (digits | digits.wrapping_add(every(0x76))) & every(0x80) != 0 {
        return None;
    }
    Some((eight(digits) as f64 / POWERS[(decimals / 8) as usize], (end / 8) as usize))
}

/// A number without a sign that begins `word` and is ended by a quote within it, and its length.
#[inline(always)]
fn decimal(word: u128) -> Option<(f64, usize)> {
    let end = find(word, b'"')?;
    let dot = find(word & low(end), b'.');
    let (digits, count, decimals) = match dot {
        Some(dot) if dot > 0 && dot + 1 < end => {
            let whole = word & low(dot);
            (whole | ((word >> 8) & !low(dot)), end - 1, end - 1 - dot)
        }
        Some(_) => return None,
        None => (word, end, 0),
    };
    if count == 0 {
        return None;
    }
    let digits = (digits ^ every(b'0')) << (8 * (16 - count));
    if (digits | digits.wrapping_add(every(0x76))) & every(0x80) != 0 {
        return None;
    }
    let mantissa = eight(digits as u64) * 100_000_000 + eight((digits >> 64) as u64);
    Some((mantissa as f64 / POWERS[decimals as usize], end as usize))
}

/// A plain decimal number of up to nineteen digits that begins `text` and is ended by a quote within it, and its
/// length: what doubles look like that were not rounded.
pub(super) fn long(text: &[u8]) -> Option<(f64, usize)> {
    let minus = usize::from(text.first() == Some(&b'-'));
    let (whole, dot) = digits(text, minus, 0);
    let (mantissa, end) = match text.get(dot) {
        Some(b'.') if dot > minus => digits(text, dot + 1, whole),
        _ => (whole, dot),
    };
    let decimals = end.saturating_sub(dot + 1);
    let has_dot = end > dot;
    let count = end - minus - usize::from(has_dot);
    if count == 0 || count > 19 || (has_dot && decimals == 0) || text.get(end) != Some(&b'"') {
        return None;
    }
    let size = quotient(mantissa, decimals);
    Some((if minus == 1 { -size } else { size }, end))
}

/// The digits from `at` on, written behind those of `number`, and where they end. Beyond nineteen the number wraps.
fn digits(text: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let digits = u64::from_le_bytes(*chunk) ^ u64::from_le_bytes([b'0'; 8]);
        if (digits | digits.wrapping_add(u64::from_le_bytes([0x76; 8]))) & u64::from_le_bytes([0x80; 8]) != 0 {
            break;
        }
        number = number.wrapping_mul(100_000_000).wrapping_add(eight(digits));
        at += 8;
    }
    while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (number, at)
}

/// `mantissa / 10^decimals`, for up to 19 decimals, rounded to the nearest double. Where a double can't hold the
/// mantissa, the division is done on integers to at least 62 bits; whether anything remains goes into the last of
/// them, so that the one rounding that follows, to 53 bits, can't be misled.
fn quotient(mantissa: u64, decimals: usize) -> f64 {
    if mantissa <= 1 << 53 {
        return mantissa as f64 / POWERS[decimals];
    }
    let divisor = 10u64.pow(decimals as u32);
    let (top, bottom) = (mantissa.leading_zeros(), divisor.leading_zeros());
    let numerator = u128::from(mantissa << top) << 63;
    let divisor = u128::from(divisor << bottom);
    let quotient = numerator / divisor;
    let bits = quotient as u64 | u64::from(quotient * divisor != numerator);
    let exponent = 1023 + i64::from(bottom) - i64::from(top) - 63;
    bits as f64 * f64::from_bits((exponent as u64) << 52)
}

/// The value that `text` writes: a decimal number, `NaN` or an infinity. `None` where it is none, or too large
/// to be finite.
pub(super) fn value(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => return Some(f64::NAN),
        b"+Inf" | b"Inf" => return Some(f64::INFINITY),
        b"-Inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if !unsigned.first()?.is_ascii_digit() {
        return None;
    }
    // The standard library's parse is exact for any number of digits.
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Milliseconds of a time in seconds, rounded to the nearest.
pub(super) fn millis(text: &[u8]) -> Option<i64> {
    let (whole, decimals) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let plain = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || whole.len() > 15 || !plain(whole) || !plain(decimals) {
        let seconds = value(text)?;
        return (seconds.abs() < 9e15).then(|| (seconds * 1000.0).round() as i64);
    }
    let digit = |at: usize| i64::from(decimals.get(at).map_or(0, |byte| byte - b'0'));
    let seconds = whole.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    Some(seconds * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(digit(3) >= 5))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn padded(text: &str) -> [u8; 16] {
        let mut bytes = [b'"'; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn short_numbers_are_exact() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100_000 {
            let decimals = rng.random_range(0..8);
            let size = 10f64.powi(rng.random_range(0..7));
            let text = format!("{:.decimals$}", rng.random_range(-size..size));
            if text.len() < 16 {
                let (value, length) = short(padded(&text)).unwrap();
                assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
                assert_eq!(length, text.len());
            }
        }
    }

    #[test]
    fn long_numbers_are_exact() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..300_000 {
            let size = 10f64.powi(rng.random_range(-3..12));
            let decimals = rng.random_range(0..18);
            let text = match rng.random_range(0..3) {
                0 => rng.random_range(-size..size).to_string(),
                1 => format!("{:.decimals$}", rng.random_range(-size..size)),
                // Halfway between two doubles, or just beside.
                _ => format!("{}.5", (1u64 << 53) + rng.random_range(0..1000)) + ["", "0", "1"][decimals % 3],
            };
            match long(format!("{text}\"],").as_bytes()) {
                Some((value, length)) => {
                    assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
                    assert_eq!(length, text.len());
                }
                None => assert!(text.len() > 19, "{text}"),
            }
        }
        assert_eq!(long(b"18446744073709551616\""), None);
        assert_eq!(long(b"9999999999999999999\""), Some((1e19, 19)));
        assert_eq!(long(b"0.123456789012345678\""), Some((0.12345678901234568, 20)));
        for text in ["", "-", ".", "1.", ".1", "1e5", "NaN", "+1", "1.2.3", "1 "] {
            assert_eq!(long(format!("{text}\"").as_bytes()), None, "{text}");
        }
        assert_eq!(long(b"123"), None);
    }

    #[test]
    fn short_refuses_what_is_not_plain() {
        for text in ["", "-", ".", "1.", ".1", "-.1", "1e5", "NaN", "+1", "1.2.3", "1 ", "1:", "1/", "é", "--1", "1-"]
        {
            assert_eq!(short(padded(text)), None, "{text}");
        }
        assert_eq!(short(*b"1234567890123456"), None);
        assert_eq!(short(*b"-12345678901234\""), Some((-12345678901234.0, 15)));
        assert_eq!(short(*b"-0\",\"99999999999").map(|(value, _)| value.to_bits()), Some((-0.0f64).to_bits()));
    }

    #[test]
    fn values_in_all_forms() {
        for (text, want) in [
            ("1e-7", 1e-7),
            ("1.5E+300", 1.5e300),
            ("0.12345678901234567", 0.12345678901234567),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
            ("-0", 0.0),
            ("+2", 2.0),
            ("+Inf", f64::INFINITY),
            ("Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(value(text.as_bytes()), Some(want), "{text}");
        }
        assert!(value(b"NaN").unwrap().is_nan());
        for text in ["", "-", "inf", "nan", "infinity", "0x10", "1e400", "--1", ".5", "1e", "abc", "1 ", "\u{e9}"] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_rounded_to_the_millisecond() {
        for (text, want) in [
            ("1700000000", 1_700_000_000_000),
            ("1700000000.5", 1_700_000_000_500),
            ("1700000000.1234", 1_700_000_000_123),
            ("1700000000.9996", 1_700_000_001_000),
            ("1.7e9", 1_700_000_000_000),
            ("1.7000000005e9", 1_700_000_000_500),
            ("0", 0),
            ("-1.5", -1500),
        ] {
            assert_eq!(millis(text.as_bytes()), Some(want), "{text}");
        }
        for text in ["", "-", "NaN", "1e300", "abc", "1.2.3", "99999999999999999999"] {
            assert_eq!(millis(text.as_bytes()), None, "{text}");
        }
    }
}

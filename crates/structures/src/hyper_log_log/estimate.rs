//! From registers to a count: the estimator of Otmar Ertl's paper, algorithm 6. It works on how many registers have which value and is the same for any
//! count, small or large. Every step is done in the order Redis does it, so both round to the same number.

use super::{REGISTERS, RUN_BITS};

/// 1 / (2 ln 2)
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// Estimates from the number of registers that have each value.
pub(super) fn from_histogram(histogram: &[u32; 64]) -> u64 {
    let m = REGISTERS as f64;
    let longest = histogram[RUN_BITS as usize + 1];
    let mut z = m * tau((m - f64::from(longest)) / m);
    for count in histogram[1..=RUN_BITS as usize].iter().rev() {
        z = (z + f64::from(*count)) * 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

/// Corrects for the registers whose run of zeros reached the end of the hash.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// Corrects for the registers that are still zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

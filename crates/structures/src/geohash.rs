//! Places on Earth as numbers whose order keeps neighbours together.
//!
//! A position is two fractions, of the way from the least to the greatest longitude and latitude, with as many bits each as there are steps; their bits take
//! turns, longitude first. So a hash of fewer steps is a box, and all positions in it are one range of hashes of more steps:
//!
//! ```text
//! 26 steps   lon lat lon lat … lon lat      52 bits: every hash is exactly a 64-bit float, a score of a sorted set
//!  2 steps   lon lat lon lat                a box, a sixteenth of the map wide and high
//! ```
//!
//! Latitudes end at ±85.05112878°, as on the square Mercator map. A search looks at the box around its centre and at its eight neighbours
//! ([`Shape::cover`]) and then judges every position by itself ([`Shape::distance`]). Distances are great-circle distances on a sphere. The order of every
//! calculation is that of Redis, so that results agree to the last bit.

use std::f64::consts::PI;

/// Bits of each coordinate in a hash of a position.
pub const STEPS_MAX: u32 = 26;

/// Greatest longitude; the least is its negative.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Greatest latitude; the least is its negative.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the width of the map at the equator.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const DEGREE: f64 = PI / 180.0;

/// A position in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

impl Position {
    /// Makes a position; none if it is not on the map.
    #[must_use]
    pub fn new(longitude: f64, latitude: f64) -> Option<Position> {
        let fits = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        fits.then_some(Position { longitude, latitude })
    }

    /// Returns the 52-bit hash.
    #[must_use]
    pub fn hash(self) -> u64 {
        Cell::around(self, STEPS_MAX, LATITUDE_MAX).bits
    }

    /// Returns the middle of what a 52-bit hash stands for.
    #[must_use]
    pub fn of_hash(hash: u64) -> Position {
        let area = Cell { bits: hash, steps: STEPS_MAX }.area();
        Position {
            longitude: f64::midpoint(area.west, area.east).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: f64::midpoint(area.south, area.north).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// Returns the standard geohash of eleven letters, whose latitudes reach to the poles.
    #[must_use]
    pub fn letters(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::around(self, STEPS_MAX, 90.0).bits;
        // 52 bits are ten letters and two bits, which are left out.
        let mut letters = [ALPHABET[0]; 11];
        for (index, letter) in letters[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (52 - 5 * (index + 1)) & 0x1f) as usize];
        }
        letters
    }

    /// Returns the distance in metres.
    #[must_use]
    pub fn distance(self, other: Position) -> f64 {
        let (latitude, other_latitude) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let (longitude, other_longitude) = (self.longitude * DEGREE, other.longitude * DEGREE);
        let u = ((other_latitude - latitude) / 2.0).sin();
        let v = ((other_longitude - longitude) / 2.0).sin();
        let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// What is searched: everything within it, measured from a centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The centre.
    pub centre: Position,
    /// How far it reaches.
    pub extent: Extent,
    /// Metres in a unit of the extent.
    pub unit: f64,
}

/// How far a shape reaches, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// A circle.
    Radius(f64),
    /// A box with its centre in the middle.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
}

impl Shape {
    /// Returns the distance of a position from the centre in metres, if it is inside.
    #[must_use]
    pub fn distance(&self, position: Position) -> Option<f64> {
        let centre = self.centre;
        match self.extent {
            Extent::Radius(radius) => {
                let distance = centre.distance(position);
                (distance <= radius * self.unit).then_some(distance)
            }
            Extent::Box { width, height } => {
                let sideways = position.distance(Position { longitude: centre.longitude, ..position });
                let upwards = position.distance(Position { latitude: centre.latitude, ..position });
                let inside = sideways <= width * self.unit / 2.0 && upwards <= height * self.unit / 2.0;
                inside.then(|| centre.distance(position))
            }
        }
    }

    /// Returns ranges of 52-bit hashes (the second one excluded) that hold every position inside, the box around the centre first. Ranges may occur twice
    /// if the shape goes around the Earth.
    pub fn cover(&self) -> impl Iterator<Item = (u64, u64)> {
        let bounds = self.bounds();
        let mut cell = Cell::around(self.centre, self.steps(), LATITUDE_MAX);
        if cell.steps > 1 && !cell.neighbourhood_reaches(&bounds) {
            cell = Cell::around(self.centre, cell.steps - 1, LATITUDE_MAX);
        }
        let area = cell.area();
        // What lies beyond an edge that the shape does not touch is left out, unless boxes are so large that they go around the Earth.
        let wanted = move |east: i32, north: i32| {
            cell.steps < 2
                || !(north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        const ORDER: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let cells = ORDER.into_iter().enumerate().filter(move |(_, (east, north))| wanted(*east, *north));
        let mut last = None;
        cells.filter_map(move |(index, (east, north))| {
            let neighbour = cell.moved(east, north);
            if last == Some(neighbour.bits) {
                return None;
            }
            // The first one is not compared with: that is how Redis comes to see some positions twice.
            last = (index > 0).then_some(neighbour.bits);
            Some(neighbour.hashes())
        })
    }

    /// How many steps make boxes about as large as the shape.
    fn steps(&self) -> u32 {
        let reach = match self.extent {
            Extent::Radius(radius) => radius,
            Extent::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        };
        let mut reach = reach * self.unit;
        if reach == 0.0 {
            return STEPS_MAX;
        }
        let mut steps: i32 = 1;
        while reach < MERCATOR_MAX_M {
            reach *= 2.0;
            steps += 1;
        }
        steps -= 2;
        // Boxes are narrower toward the poles.
        let latitude = self.centre.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS_MAX as i32) as u32
    }

    fn bounds(&self) -> Area {
        let Position { longitude, latitude } = self.centre;
        let (width, height) = match self.extent {
            Extent::Radius(radius) => (radius, radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width, height) = (self.unit * width, self.unit * height);
        let up = height / EARTH_RADIUS_M / DEGREE;
        // Degrees of longitude are shortest at the edge nearer to a pole.
        let edge = if latitude < 0.0 { latitude - up } else { latitude + up };
        let sideways = width / EARTH_RADIUS_M / (edge * DEGREE).cos() / DEGREE;
        Area { west: longitude - sideways, south: latitude - up, east: longitude + sideways, north: latitude + up }
    }
}

#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

/// A box: a hash of fewer steps than a position's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    bits: u64,
    steps: u32,
}

const LONGITUDES: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LATITUDES: u64 = 0x5555_5555_5555_5555;

impl Cell {
    fn around(position: Position, steps: u32, latitude_max: f64) -> Cell {
        let fraction = |value: f64, max: f64| {
            let fraction = (value - -max) / (max - -max);
            (fraction * (1_u64 << steps) as f64) as u32
        };
        let longitude = fraction(position.longitude, LONGITUDE_MAX);
        let latitude = fraction(position.latitude, latitude_max);
        Cell { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    fn area(self) -> Area {
        let edge = |index: u32, further: f64, max: f64| {
            -max + ((f64::from(index) + further) / (1_u64 << self.steps) as f64) * (max - -max)
        };
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        Area {
            west: edge(longitude, 0.0, LONGITUDE_MAX),
            south: edge(latitude, 0.0, LATITUDE_MAX),
            east: edge(longitude, 1.0, LONGITUDE_MAX),
            north: edge(latitude, 1.0, LATITUDE_MAX),
        }
    }

    /// Tells whether this box and its neighbours hold everything inside the bounds.
    fn neighbourhood_reaches(self, bounds: &Area) -> bool {
        self.moved(0, 1).area().north >= bounds.north
            && self.moved(0, -1).area().south <= bounds.south
            && self.moved(1, 0).area().east >= bounds.east
            && self.moved(-1, 0).area().west <= bounds.west
    }

    /// Returns a neighbour; the last one's neighbour is the first.
    fn moved(self, east: i32, north: i32) -> Cell {
        let used = u64::MAX >> (64 - 2 * self.steps);
        let shift = |own: u64, others: u64, by: i32| {
            let (own_bits, fill) = (self.bits & own, others & used);
            match by {
                0 => own_bits,
                // Filling the bits in between makes the carry run through them.
                1 => own_bits.wrapping_add(fill + 1) & own & used,
                _ => (own_bits | fill).wrapping_sub(fill + 1) & own & used,
            }
        };
        Cell { bits: shift(LONGITUDES, LATITUDES, east) | shift(LATITUDES, LONGITUDES, north), steps: self.steps }
    }

    /// Returns the range of 52-bit hashes inside.
    fn hashes(self) -> (u64, u64) {
        let missing = 52 - 2 * self.steps;
        (self.bits << missing, (self.bits + 1) << missing)
    }
}

/// Puts a zero before every bit.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & LATITUDES
}

/// Takes every second bit.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDES;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_from_their_hashes() {
        for step in 0..2000_u32 {
            let longitude = f64::from(step) * 0.1799 - 180.0;
            let latitude = f64::from(step * 7919 % 2000) * 0.085 - 85.0;
            let position = Position::new(longitude, latitude).unwrap();
            let back = Position::of_hash(position.hash());
            assert!(position.distance(back) < 1.0, "{position:?} {back:?}");
        }
        assert_eq!(Position::new(13.361389, 38.115556).unwrap().letters(), *b"sqc8b49rny0");
        assert!(Position::new(180.1, 0.0).is_none() && Position::new(0.0, 85.06).is_none());
        assert!(Position::new(f64::NAN, 0.0).is_none());
    }

    #[test]
    fn every_position_inside_a_shape_is_covered() {
        let unit = 1000.0;
        for radius in [0.5, 10.0, 150.0, 2000.0, 6000.0] {
            for latitude in [-80.0, -66.5, -1.0, 0.0, 33.0, 70.0] {
                let centre = Position::new(10.0, latitude).unwrap();
                let shape = Shape { centre, extent: Extent::Radius(radius), unit };
                let ranges: Vec<(u64, u64)> = shape.cover().collect();
                for step in 0..400 {
                    let (angle, part) = (f64::from(step) * 0.7, f64::from(step % 20) / 20.0);
                    let reach = radius * part / 111.0;
                    let place = Position::new(10.0 + reach * angle.cos(), latitude + reach * angle.sin());
                    let Some(position) = place.filter(|position| shape.distance(*position).is_some()) else { continue };
                    let hash = position.hash();
                    assert!(ranges.iter().any(|(from, to)| (*from..*to).contains(&hash)), "{shape:?} {position:?}");
                }
            }
        }
    }
}

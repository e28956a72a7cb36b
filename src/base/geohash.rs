//! Places on Earth as numbers of 52 bits that are near each other when the places are, as Redis
//! keeps them in scores: bits of the latitude and the longitude by turns.

use std::ops::Range;

/// The farthest longitude east.
const LONGITUDE_MAX: f64 = 180.0;
/// The farthest latitude north: the edge of the Mercator projection that maps use.
const LATITUDE_MAX: f64 = 85.051_128_78;
/// Halvings of each range that a score has room for.
const STEPS_MAX: u32 = 26;
const SCORE_BITS: u32 = STEPS_MAX * 2;
const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
/// Half of the length of the equator in the projection.
const MERCATOR_METERS: f64 = 20_037_726.37;
/// Radians of a degree.
const DEGREE: f64 = std::f64::consts::PI / 180.0;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

/// A range of degrees that is halved again and again.
#[derive(Clone, Copy)]
struct Scale {
    min: f64,
    max: f64,
}

const LONGITUDES: Scale = Scale { min: -LONGITUDE_MAX, max: LONGITUDE_MAX };
const LATITUDES: Scale = Scale { min: -LATITUDE_MAX, max: LATITUDE_MAX };
/// The latitudes of common geohashes.
const ALL_LATITUDES: Scale = Scale { min: -90.0, max: 90.0 };

impl Scale {
    /// In which of the 2^steps parts a value lies.
    fn part_of(self, value: f64, steps: u32) -> u32 {
        let share = (value - self.min) / (self.max - self.min);
        (share * (1_u64 << steps) as f64) as u32
    }

    /// Where a part begins.
    fn start_of(self, part: u32, steps: u32) -> f64 {
        self.min + (f64::from(part) / (1_u64 << steps) as f64) * (self.max - self.min)
    }

    fn bounds_of(self, part: u32, steps: u32) -> Scale {
        let end = self.start_of(part.wrapping_add(1), steps);
        Scale { min: self.start_of(part, steps), max: end }
    }

    fn middle_of(self, part: u32, steps: u32) -> f64 {
        let bounds = self.bounds_of(part, steps);
        ((bounds.min + bounds.max) / 2.0).clamp(self.min, self.max)
    }
}

impl Place {
    /// Whether the place has a score.
    pub fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The score of a valid place.
    pub fn score(self) -> u64 {
        Cell::of(self, STEPS_MAX).bits()
    }

    /// The place in the middle of what has this score.
    pub fn from_score(score: f64) -> Place {
        // Numbers that no place has get the bits a conversion to a machine word gives.
        let bits = match score {
            ..0.0 => score as i64 as u64,
            18_446_744_073_709_551_616.0.. => 0,
            _ => score as u64,
        };
        let (latitude, longitude) = (every_other(bits), every_other(bits >> 1));
        Place {
            longitude: LONGITUDES.middle_of(longitude, STEPS_MAX),
            latitude: LATITUDES.middle_of(latitude, STEPS_MAX),
        }
    }

    /// The common geohash. Its eleventh letter is always 0: fifty bits fill ten.
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let latitude = ALL_LATITUDES.part_of(self.latitude, STEPS_MAX);
        let longitude = LONGITUDES.part_of(self.longitude, STEPS_MAX);
        let bits = by_turns(latitude, longitude);
        let mut text = [LETTERS[0]; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            let shift = SCORE_BITS as usize - (at + 1) * 5;
            *letter = LETTERS[(bits >> shift) as usize & 31];
        }
        text
    }

    /// Meters to another place over the surface (haversine).
    pub fn distance(self, other: Place) -> f64 {
        let east = ((other.longitude * DEGREE - self.longitude * DEGREE) / 2.0).sin();
        if east == 0.0 {
            return self.distance_north(other);
        }
        let (here, there) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let north = ((there - here) / 2.0).sin();
        let chord = north * north + here.cos() * there.cos() * east * east;
        2.0 * EARTH_RADIUS_METERS * chord.sqrt().asin()
    }

    /// Meters along a meridian.
    fn distance_north(self, other: Place) -> f64 {
        EARTH_RADIUS_METERS * (other.latitude * DEGREE - self.latitude * DEGREE).abs()
    }
}

/// What is searched around a place, in meters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All within this radius.
    Circle(f64),
    /// A box with sides along meridians and parallels.
    Rectangle {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
}

impl Shape {
    /// Meters from the centre to a place inside; `None` outside.
    pub fn distance_inside(self, centre: Place, place: Place) -> Option<f64> {
        match self {
            Shape::Circle(radius) => {
                Some(centre.distance(place)).filter(|distance| *distance <= radius)
            }
            Shape::Rectangle { width, height } => {
                let below = Place { longitude: centre.longitude, ..place };
                let inside = place.distance_north(centre) <= height / 2.0
                    && place.distance(below) <= width / 2.0;
                inside.then(|| centre.distance(place))
            }
        }
    }

    /// Half the extent from west to east and from south to north, and the way to the farthest point.
    fn reach(self) -> (f64, f64, f64) {
        match self {
            Shape::Circle(radius) => (radius, radius, radius),
            Shape::Rectangle { width, height } => {
                let (east, north) = (width / 2.0, height / 2.0);
                (east, north, (east * east + north * north).sqrt())
            }
        }
    }
}

/// The ranges of scores in which everything lies that a shape around a place holds: the cell of the
/// place, then those around it, in the order in which Redis looks through them.
pub fn scores_around(centre: Place, shape: Shape) -> Vec<Range<u64>> {
    let (east, north, farthest) = shape.reach();
    let bounds = bounds(centre, east, north);
    let mut steps = steps_for(farthest, centre.latitude);
    let mut cell = Cell::of(centre, steps);
    if steps > 1 && !cell.neighbours_cover(bounds) {
        steps -= 1;
        cell = Cell::of(centre, steps);
    }
    let (longitudes, latitudes) = (cell.longitudes(), cell.latitudes());
    let skips = |(north, east): (i32, i32)| {
        steps >= 2
            && (north < 0 && latitudes.min < bounds.1.min
                || north > 0 && latitudes.max > bounds.1.max
                || east < 0 && longitudes.min < bounds.0.min
                || east > 0 && longitudes.max > bounds.0.max)
    };
    let moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)];
    let mut ranges: Vec<Range<u64>> = Vec::with_capacity(moves.len());
    for step in moves.into_iter().filter(|step| !skips(*step)) {
        let scores = cell.moved(step.0, step.1).scores();
        // Around the whole Earth neighbours meet.
        if ranges.last() != Some(&scores) {
            ranges.push(scores);
        }
    }
    ranges
}

/// The longitudes and latitudes of a box around a place.
fn bounds(centre: Place, east: f64, north: f64) -> (Scale, Scale) {
    let up = (north / EARTH_RADIUS_METERS) / DEGREE;
    // The parallels are shortest on the side of the pole.
    let edge = if centre.latitude < 0.0 { centre.latitude - up } else { centre.latitude + up };
    let aside = (east / EARTH_RADIUS_METERS / (edge * DEGREE).cos()) / DEGREE;
    (
        Scale { min: centre.longitude - aside, max: centre.longitude + aside },
        Scale { min: centre.latitude - up, max: centre.latitude + up },
    )
}

/// How small cells may be so that a cell and its neighbours hold everything so near.
fn steps_for(meters: f64, latitude: f64) -> u32 {
    if meters == 0.0 {
        return STEPS_MAX;
    }
    let mut steps: i32 = -1;
    let mut reach = meters;
    while reach < MERCATOR_METERS {
        reach *= 2.0;
        steps += 1;
    }
    // Towards the poles cells become narrow.
    steps -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// A cell of the grid that halving both ranges so many times gives.
#[derive(Clone, Copy)]
struct Cell {
    latitude: u32,
    longitude: u32,
    steps: u32,
}

impl Cell {
    fn of(place: Place, steps: u32) -> Cell {
        Cell {
            latitude: LATITUDES.part_of(place.latitude, steps),
            longitude: LONGITUDES.part_of(place.longitude, steps),
            steps,
        }
    }

    fn bits(self) -> u64 {
        by_turns(self.latitude, self.longitude)
    }

    /// Another cell; beyond an edge it is on the other side.
    fn moved(self, north: i32, east: i32) -> Cell {
        let mask = (1 << self.steps) - 1;
        let step = |part: u32, by: i32| match by {
            0 => part,
            by => part.wrapping_add_signed(by) & mask,
        };
        Cell { latitude: step(self.latitude, north), longitude: step(self.longitude, east), ..self }
    }

    fn longitudes(self) -> Scale {
        LONGITUDES.bounds_of(self.longitude, self.steps)
    }

    fn latitudes(self) -> Scale {
        LATITUDES.bounds_of(self.latitude, self.steps)
    }

    /// Whether the neighbours reach as far as these bounds.
    fn neighbours_cover(self, (longitudes, latitudes): (Scale, Scale)) -> bool {
        self.moved(1, 0).latitudes().max >= latitudes.max
            && self.moved(-1, 0).latitudes().min <= latitudes.min
            && self.moved(0, 1).longitudes().max >= longitudes.max
            && self.moved(0, -1).longitudes().min <= longitudes.min
    }

    /// The scores of all places inside.
    fn scores(self) -> Range<u64> {
        let shift = SCORE_BITS - self.steps * 2;
        self.bits() << shift..(self.bits() + 1) << shift
    }
}

/// Bits of two numbers by turns, the lowest from `even`.
fn by_turns(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

/// Puts a zero above each bit.
fn spread(number: u32) -> u64 {
    let halves = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    halves.iter().fold(u64::from(number), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// The even bits of a number.
fn every_other(bits: u64) -> u32 {
    (0..32).fold(0, |number, at| number | ((bits >> (2 * at)) as u32 & 1) << at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PALERMO: Place = Place { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Place = Place { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn places_of_the_manual_have_its_numbers() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698);
        let (palermo, catania) = [PALERMO, CATANIA].map(|place| place.score() as f64).into();
        let (palermo, catania) = (Place::from_score(palermo), Place::from_score(catania));
        assert_eq!(format!("{:.17}", palermo.longitude), "13.36138933897018433");
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        assert_eq!(&catania.geohash(), b"sqdtr74hyu0");
    }

    proptest! {
        #[test]
        fn everything_inside_a_shape_is_in_the_ranges_around(
            (x, y) in (-180.0..180.0_f64, -85.0..85.0_f64),
            (east, north) in (-1.0..1.0_f64, -1.0..1.0_f64),
            size in 1.0..5_000_000.0_f64,
        ) {
            let centre = Place { longitude: x, latitude: y };
            let degrees = size / 111_000.0;
            let place = Place { longitude: x + east * degrees, latitude: y + north * degrees };
            // Redis does not look beyond the antimeridian and the poles.
            prop_assume!(place.is_valid());
            let up = (y.abs() + degrees).min(89.0);
            prop_assume!(x.abs() + degrees / up.to_radians().cos() < 180.0 && up < 85.0);
            let stored = Place::from_score(place.score() as f64);
            let shapes = [Shape::Circle(size), Shape::Rectangle { width: size, height: size }];
            for shape in shapes {
                if shape.distance_inside(centre, stored).is_some() {
                    let ranges = scores_around(centre, shape);
                    prop_assert!(ranges.iter().any(|range| range.contains(&place.score())));
                }
            }
        }
    }
}

//! Searches for places, held against a real redis-server: random places all over the map, random circles and boxes of every size, and every reply equal to the
//! last digit, order included where there is one.

use crate::support;
use redpoll_testkit::{Random, RedisServer, Reply, Target};

/// The stream is the same every time.
const SEED: u64 = 0x9e0;
const PLACES: u64 = 600;
const SEARCHES: usize = 1500;

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// A coordinate: anywhere, or in one of a few crowded regions.
fn coordinate(random: &mut Random, max: f64) -> f64 {
    let fraction = random.below(2_000_001) as f64 / 1_000_000.0 - 1.0;
    match random.below(4) {
        0 => fraction * max,
        1 => fraction * max / 1000.0,
        2 => max - fraction.abs() * max / 100.0,
        _ => (max / 3.0 + fraction).clamp(-max, max),
    }
}

fn search(random: &mut Random) -> String {
    let unit = *random.pick(&["m", "km", "ft", "mi"]);
    let size = |random: &mut Random| (random.below(1_000_000) as f64 / 1000.0) * 10_f64.powi(random.below(5) as i32);
    let centre = match random.below(3) {
        0 => format!("FROMMEMBER p{}", random.below(PLACES)),
        _ => format!("FROMLONLAT {} {}", coordinate(random, 180.0), coordinate(random, 85.0)),
    };
    let extent = match random.below(2) {
        0 => format!("BYRADIUS {} {unit}", size(random)),
        _ => format!("BYBOX {} {} {unit}", size(random), size(random)),
    };
    let order = *random.pick(&["", " ASC", " DESC"]);
    let count = match random.below(3) {
        0 => format!(" COUNT {} ANY", random.below(20) + 1),
        _ => String::new(),
    };
    format!("GEOSEARCH g {centre} {extent}{order}{count} WITHCOORD WITHDIST WITHHASH")
}

#[test]
fn searches_find_what_redis_finds() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let mut random = Random::new(SEED);
    let mut both = |command: &str| -> Reply {
        let (expected, found) = (redis.call(&words(command)), ours.call(&words(command)));
        assert_eq!(found.print(), expected.print(), "{command}");
        found
    };
    for place in 0..PLACES {
        let (longitude, latitude) = (coordinate(&mut random, 180.0), coordinate(&mut random, 85.0));
        both(&format!("GEOADD g {longitude} {latitude} p{place}"));
        both(&format!("GEOPOS g p{place}"));
        both(&format!("GEOHASH g p{place}"));
        both(&format!("GEODIST g p{place} p{} km", random.below(place + 1)));
    }
    let mut found = 0;
    for _ in 0..SEARCHES {
        found += both(&search(&mut random)).as_slice().map_or(0, <[Reply]>::len);
    }
    assert!(found > SEARCHES, "most searches find something");
}

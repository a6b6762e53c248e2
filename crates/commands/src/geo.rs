//! Places: positions as scores of sorted sets; searches are in `geo_search.rs`.
//!
//! A place is a member whose score is the 52-bit hash of its position (`structures::geohash`), so all commands on sorted sets work on places too, and any sorted
//! set can be read as places. Positions come back as the middle of what their hash stands for, less than a metre away.

use redpoll_keyspace::SortedSet;
use redpoll_resp::Writer;
use redpoll_structures::geohash::Position;

use crate::args::Args;
use crate::command::{Command, DENYOOM, Family, Keys, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{Error, GEO_UNIT, SYNTAX, invalid_position};
use crate::geo_search::{
    georadius, georadius_ro, georadiusbymember, georadiusbymember_ro, geosearch, geosearchstore, stored_to,
};
use crate::key_spec::{ACCESS, KeySpec, OW, RO, UPDATE};
use crate::sorted_set::{AddOptions, add};

const WITH_STORE: Keys = Keys::First { further: stored_to, unbound: |_| false };
const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]", geoadd, WRITE | DENYOOM, "3.2.0", "O(log(N)) for each item added, where N is the number of elements in the sorted set.", "Adds one or more members to a geospatial index. The key is created if it doesn't exist."),
    cmd("GEODIST key member1 member2 [M | KM | FT | MI]", geodist, READONLY, "3.2.0", "O(1)", "Returns the distance between two members of a geospatial index."),
    cmd("GEOHASH key [member [member ...]]", geohash, READONLY, "3.2.0", "O(1) for each member requested.", "Returns members from a geospatial index as geohash strings."),
    cmd("GEOPOS key [member [member ...]]", geopos, READONLY, "3.2.0", "O(1) for each member requested.", "Returns the longitude and latitude of members from a geospatial index."),
    cmd("GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]", georadius, WRITE | DENYOOM, "3.2.0", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.").keys(WITH_STORE).specs(&[KeySpec::at(1, RO | ACCESS), KeySpec::behind("STORE", 6, OW | UPDATE), KeySpec::behind("STOREDIST", 6, OW | UPDATE)]),
    cmd("GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]", georadiusbymember, WRITE | DENYOOM, "3.2.0", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Queries a geospatial index for members within a distance from a member, optionally stores the result.").keys(WITH_STORE).specs(&[KeySpec::at(1, RO | ACCESS), KeySpec::behind("STORE", 5, OW | UPDATE), KeySpec::behind("STOREDIST", 5, OW | UPDATE)]),
    cmd("GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]", georadiusbymember_ro, READONLY, "3.2.10", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Returns members from a geospatial index that are within a distance from a member.").keys(ONE),
    cmd("GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]", georadius_ro, READONLY, "3.2.10", "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.", "Returns members from a geospatial index that are within a distance from a coordinate.").keys(ONE),
    cmd("GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]", geosearch, READONLY, "6.2.0", "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape", "Queries a geospatial index for members inside an area of a box or a circle.").keys(ONE),
    cmd("GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]", geosearchstore, WRITE | DENYOOM, "6.2.0", "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape", "Queries a geospatial index for members inside an area of a box or a circle, optionally stores the result.").keys(TWO).uses(&[OW | UPDATE, RO | ACCESS]),
];

/// Places.
pub(crate) const FAMILY: Family = Family { group: "geo", commands: COMMANDS };

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut options = AddOptions::default();
    let mut first = 2;
    loop {
        match () {
            () if args.is(first, "NX") => options.nx = true,
            () if args.is(first, "XX") => options.xx = true,
            () if args.is(first, "CH") => options.ch = true,
            () => break,
        }
        first += 1;
    }
    let places = args.from(first);
    if places.is_empty() || !places.len().is_multiple_of(3) || (options.nx && options.xx) {
        return Err(SYNTAX);
    }
    let mut elements = Vec::with_capacity(places.len() / 3);
    for at in (first..args.len()).step_by(3) {
        elements.push((args.at(at + 2), position(args, at)?.hash() as f64));
    }
    add(cx, args.at(1), options, &elements)
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
fn geodist(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let unit = match args.len() {
        4 => 1.0,
        5 => unit(args, 4)?,
        _ => return Err(SYNTAX),
    };
    let set = cx.db.read_as::<SortedSet>(args.at(1))?;
    let place = |member| set.and_then(|set| set.score(member)).map(of_score);
    match (place(args.at(2)), place(args.at(3))) {
        (Some(one), Some(other)) => reply_distance(cx.out, one.distance(other) / unit),
        _ => cx.out.null(),
    }
    Ok(())
}

/// GEOHASH key [member [member ...]]
fn geohash(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (set, members) = (cx.db.read_as::<SortedSet>(args.at(1))?, args.from(2));
    cx.out.array(members.len());
    for member in members {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.out.bulk(&of_score(score).letters()),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// GEOPOS key [member [member ...]]
fn geopos(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (set, members) = (cx.db.read_as::<SortedSet>(args.at(1))?, args.from(2));
    cx.out.array(members.len());
    for member in members {
        match set.and_then(|set| set.score(member)) {
            Some(score) => reply_position(cx.out, of_score(score)),
            None => cx.out.null_array(),
        }
    }
    Ok(())
}

/// Reads a longitude and a latitude.
pub(crate) fn position(args: Args<'_>, at: usize) -> Result<Position, Error> {
    let (longitude, latitude) = (args.float(at)?, args.float(at + 1)?);
    Position::new(longitude, latitude).ok_or_else(|| invalid_position(longitude, latitude))
}

/// Reads a unit; returns its metres.
pub(crate) fn unit(args: Args<'_>, at: usize) -> Result<f64, Error> {
    match () {
        () if args.is(at, "M") => Ok(1.0),
        () if args.is(at, "KM") => Ok(1000.0),
        () if args.is(at, "FT") => Ok(0.3048),
        () if args.is(at, "MI") => Ok(1609.34),
        () => Err(GEO_UNIT),
    }
}

/// Returns the position that any score stands for, made by GEOADD or not.
pub(crate) fn of_score(score: f64) -> Position {
    Position::of_hash(bits_of(score))
}

/// Converts a score to a hash. Where it is none, as the code of redis-server does on the processors it mostly runs on: a number out of range has the sign bit
/// alone, which for large ones is taken off again.
fn bits_of(score: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let signed = |score: f64| if score.abs() < SIGN as f64 { score as i64 as u64 } else { SIGN };
    if score >= SIGN as f64 { signed(score - SIGN as f64) ^ SIGN } else { signed(score) }
}

/// Writes a distance with four digits after the point.
pub(crate) fn reply_distance(out: &mut Writer, distance: f64) {
    out.bulk(format!("{distance:.4}").as_bytes());
}

/// Writes longitude and latitude with up to seventeen digits after the point.
pub(crate) fn reply_position(out: &mut Writer, position: Position) {
    out.array(2);
    for degrees in [position.longitude, position.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        out.double_text(if text == "-0" { b"0" } else { text.as_bytes() });
    }
}

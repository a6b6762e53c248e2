//! What is generated for geographic commands: members at a few real places and at the edges of the map.
//!
//! A search without an order gives what it finds in the order in which it happens to look, so only with ASC or DESC is the reply compared as it stands.
//! With COUNT it is a matter of chance which of several places at one distance is left out: only how many there are is compared.

use super::compare::Rule::{Exact, Floats, Shape, Unordered};
use super::families::{Row, intact, row};

/// A key of this family. Its commands use no others, whose scores are no positions: what C makes of an infinite one is not defined. Commands of other
/// families come upon these keys now and then, as upon all.
macro_rules! map {
    () => {
        "('g0 | 'g1 | '{t}g)"
    };
}

/// A position: longitude and latitude.
macro_rules! position {
    () => {
        "('13.361389 | '15.087269 | '13.583333 | '-0.1278 | '2.3522 | '179.9 | '-179.9 | '0 | '180 | '181 | 'x) ('38.115556 | '37.502669 | '37.316667 | '51.5074 | '85.05 | '-85.05 | '0 | '86)"
    };
}

/// Half the extent of a search.
macro_rules! distance {
    () => {
        "('0 | '1 | '10 | '100 | '200.5 | '1000 | '20000 | '1e9 | '-1 | 'x) ('m | 'km | 'ft | 'mi | 'KM | 'miles)"
    };
}

/// Where a search begins, and its shape.
macro_rules! search {
    () => {
        concat!(
            "(FROMMEMBER member | FROMLONLAT ",
            position!(),
            ") (BYRADIUS ",
            distance!(),
            " | BYBOX ('1 | '100 | '1000 | '40000) ",
            distance!(),
            ")"
        )
    };
}

#[rustfmt::skip]
pub(super) const PLACES: &[Row] = &[
    row(concat!("GEOADD ", map!(), " [NX | XX] [CH] (", position!(), " member)..."), Exact),
    row(concat!("GEOADD ", map!(), " ", position!(), " member"), Exact),
    row(concat!("GEOPOS ", map!(), " member..."), Floats),
    row(concat!("GEODIST ", map!(), " member member [('m | 'km | 'ft | 'mi | 'x)]"), Floats),
    row(concat!("GEOHASH ", map!(), " member..."), Exact),
    row(concat!("GEOSEARCH ", map!(), " ", search!()), Unordered),
    row(concat!("GEOSEARCH ", map!(), " ", search!(), " (ASC | DESC) [WITHCOORD] [WITHDIST] [WITHHASH]"), Floats),
    row(concat!("GEOSEARCHSTORE ", map!(), " ", map!(), " ", search!(), " [ASC | DESC] [STOREDIST]"), Exact),
    row(concat!("GEORADIUS ", map!(), " ", position!(), " ", distance!(), " (ASC | DESC) [WITHDIST] [WITHCOORD]"), Floats),
    row(concat!("GEORADIUS ", map!(), " ", position!(), " ", distance!(), " (STORE | STOREDIST) ", map!()), Exact),
    row(concat!("GEORADIUS_RO ", map!(), " ", position!(), " ", distance!()), Unordered),
    row(concat!("GEORADIUSBYMEMBER ", map!(), " member ", distance!(), " (ASC | DESC) [WITHHASH]"), Floats),
    row(concat!("GEORADIUSBYMEMBER_RO ", map!(), " member ", distance!()), Unordered),
    intact(concat!("GEOSEARCH ", map!(), " ", search!(), " COUNT count [ANY] [ASC | DESC]"), Shape),
    row(concat!("ZRANGE ", map!(), " index index [WITHSCORES]"), Floats),
    row(concat!("ZREM ", map!(), " member..."), Exact),
];

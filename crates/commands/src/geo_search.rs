//! Searches for places in a circle or a box, by GEOSEARCH and by the older GEORADIUS and GEORADIUSBYMEMBER.
//!
//! The shape is covered by ranges of hashes, which are ranges of scores; every member in them is judged by its distance. Without an order, places come as the
//! ranges do. COUNT alone means the nearest; with ANY the search ends as soon as there are enough.

use std::ops::Bound;

use redpoll_keyspace::{Direction, Kind, SortedSet, View, kind};
use redpoll_structures::decimal;
use redpoll_structures::geohash::{Extent, Position, Shape};

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{
    Error, GEO_ANY_WITHOUT_COUNT, GEO_BOX_NEGATIVE, GEO_COUNT, GEO_HEIGHT, GEO_MEMBER, GEO_RADIUS, GEO_RADIUS_NEGATIVE,
    GEO_WIDTH, SYNTAX, WRONG_TYPE, geo_needs_one, geo_store_with,
};
use crate::geo::{of_score, position, reply_distance, reply_position, unit};

/// GEORADIUS key longitude latitude radius <M | KM | FT | MI> […] [STORE key | STOREDIST key]
pub(crate) fn georadius(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Position, store: Store::Option })
}

/// GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> […] [STORE key | STOREDIST key]
pub(crate) fn georadiusbymember(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Member, store: Store::Option })
}

/// GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> […]
pub(crate) fn georadiusbymember_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Member, store: Store::Never })
}

/// GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> […]
pub(crate) fn georadius_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Position, store: Store::Never })
}

/// GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS … | BYBOX …> […]
pub(crate) fn geosearch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Option, store: Store::Never })
}

/// GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS … | BYBOX …> […]
pub(crate) fn geosearchstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    search(cx, args, Form { centre: Centre::Option, store: Store::First })
}

/// Pushes the places of the keys behind STORE and STOREDIST of the older commands; of several, the last one is used.
pub(crate) fn stored_to(args: Args<'_>, positions: &mut Vec<usize>) {
    let mut at = 5;
    while at + 1 < args.len() {
        if args.is(at, "STORE") || args.is(at, "STOREDIST") {
            at += 1;
            positions.push(at);
        }
        at += 1;
    }
}

/// How a command says what to search.
#[derive(Clone, Copy, Debug)]
struct Form {
    centre: Centre,
    store: Store,
}

/// Where the centre stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Centre {
    /// Behind the key, as two numbers.
    Position,
    /// Behind the key, as a member.
    Member,
    /// Among the options.
    Option,
}

/// Where the destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Never,
    Option,
    /// Before the key.
    First,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// Everything that was asked for.
#[derive(Debug, Default)]
struct Query<'a> {
    /// None if the centre is a member of a key that does not exist.
    centre: Option<Position>,
    extent: Option<(Extent, f64)>,
    /// Which option named the centre.
    from: Option<Centre>,
    distances: bool,
    hashes: bool,
    positions: bool,
    order: Option<Order>,
    count: Option<usize>,
    any: bool,
    store: Option<&'a [u8]>,
    store_distances: bool,
}

/// A place that was found.
struct Place {
    member: Vec<u8>,
    score: f64,
    position: Position,
    /// In metres.
    distance: f64,
}

fn search(cx: &mut Cx<'_, '_>, args: Args<'_>, form: Form) -> Result<(), Error> {
    let key = args.at(if form.store == Store::First { 2 } else { 1 });
    let kind = cx.db.read(key).map(kind);
    if kind.is_some_and(|kind| kind != Kind::SortedSet) {
        return Err(WRONG_TYPE);
    }
    let query = Query::parse(cx.db, args, key, form)?;
    let places = match (cx.db.read_beside::<SortedSet>(key)?, query.centre, query.extent) {
        (Some(set), Some(centre), Some((extent, unit))) => query.places(set, &Shape { centre, extent, unit }),
        _ => Vec::new(),
    };
    match query.store {
        Some(destination) => store(cx, destination, &places, &query, form),
        None => answer(cx, &places, &query),
    }
    Ok(())
}

impl<'a> Query<'a> {
    fn parse(db: &View<'_>, args: Args<'a>, key: &[u8], form: Form) -> Result<Query<'a>, Error> {
        let mut query = Query::default();
        let mut at = match form.centre {
            Centre::Position => {
                query.centre = Some(position(args, 2)?);
                query.extent = Some(radius(args, 4)?);
                6
            }
            Centre::Member => {
                query.centre = member(db, key, args.at(2))?;
                if query.centre.is_some() {
                    query.extent = Some(radius(args, 3)?);
                }
                5
            }
            Centre::Option if form.store == Store::First => {
                query.store = Some(args.at(1));
                3
            }
            Centre::Option => 2,
        };
        while at < args.len() {
            let mut words = query.plain(args, at)?;
            if words == 0 && form.centre == Centre::Option {
                words = query.area(db, args, at, key)?;
            }
            if words == 0 {
                words = query.destination(args, at, form.store);
            }
            if words == 0 {
                return Err(SYNTAX);
            }
            at += words;
        }
        query.check(args, form)?;
        Ok(query)
    }

    /// Reads an option that all commands have; returns how many words it takes, zero if it is another.
    fn plain(&mut self, args: Args<'a>, at: usize) -> Result<usize, Error> {
        match () {
            () if args.is(at, "WITHDIST") => self.distances = true,
            () if args.is(at, "WITHHASH") => self.hashes = true,
            () if args.is(at, "WITHCOORD") => self.positions = true,
            () if args.is(at, "ANY") => self.any = true,
            () if args.is(at, "ASC") => self.order = Some(Order::Ascending),
            () if args.is(at, "DESC") => self.order = Some(Order::Descending),
            () if args.is(at, "COUNT") && at + 1 < args.len() => {
                let count = args.int(at + 1)?;
                self.count = Some(usize::try_from(count).ok().filter(|count| *count > 0).ok_or(GEO_COUNT)?);
                return Ok(2);
            }
            () => return Ok(0),
        }
        Ok(1)
    }

    /// Reads an option of GEOSEARCH about where to search.
    fn area(&mut self, db: &View<'_>, args: Args<'a>, at: usize, key: &[u8]) -> Result<usize, Error> {
        let left = args.len() - at - 1;
        let is_box = matches!(self.extent, Some((Extent::Box { .. }, _)));
        match () {
            () if args.is(at, "FROMMEMBER") && left >= 1 && self.from != Some(Centre::Position) => {
                self.from = Some(Centre::Member);
                self.centre = member(db, key, args.at(at + 1))?;
                Ok(2)
            }
            () if args.is(at, "FROMLONLAT") && left >= 2 && self.from != Some(Centre::Member) => {
                self.from = Some(Centre::Position);
                self.centre = Some(position(args, at + 1)?);
                Ok(3)
            }
            () if args.is(at, "BYRADIUS") && left >= 2 && !is_box => {
                self.extent = Some(radius(args, at + 1)?);
                Ok(3)
            }
            () if args.is(at, "BYBOX") && left >= 3 && (is_box || self.extent.is_none()) => {
                self.extent = Some(rectangle(args, at + 1)?);
                Ok(4)
            }
            () => Ok(0),
        }
    }

    /// Reads an option about where the result goes.
    fn destination(&mut self, args: Args<'a>, at: usize, store: Store) -> usize {
        let distances = args.is(at, "STOREDIST");
        match store {
            Store::First if distances => {
                self.store_distances = true;
                1
            }
            Store::Option if (distances || args.is(at, "STORE")) && at + 1 < args.len() => {
                self.store = Some(args.at(at + 1));
                self.store_distances = distances;
                2
            }
            _ => 0,
        }
    }

    /// Refuses options that do not fit together.
    fn check(&self, args: Args<'_>, form: Form) -> Result<(), Error> {
        if self.store.is_some() && (self.distances || self.hashes || self.positions) {
            let what = if form.store == Store::First { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(geo_store_with(what));
        }
        if form.centre == Centre::Option && self.from.is_none() {
            return Err(geo_needs_one("FROMMEMBER or FROMLONLAT can", args.at(0)));
        }
        if form.centre == Centre::Option && self.extent.is_none() {
            return Err(geo_needs_one("BYRADIUS and BYBOX can", args.at(0)));
        }
        if self.any && self.count.is_none() {
            return Err(GEO_ANY_WITHOUT_COUNT);
        }
        Ok(())
    }

    /// Finds what was asked for, in the order asked for, with distances in the unit asked for.
    fn places(&self, set: &SortedSet, shape: &Shape) -> Vec<Place> {
        let mut places = find(set, shape, self.count.filter(|_| self.any).unwrap_or(usize::MAX));
        // The first ones in no particular order would be any: the nearest are meant.
        let nearest = (self.count.is_some() && !self.any).then_some(Order::Ascending);
        match self.order.or(nearest) {
            Some(Order::Ascending) => places.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Order::Descending) => places.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        places.truncate(self.count.unwrap_or(usize::MAX));
        places.iter_mut().for_each(|place| place.distance /= shape.unit);
        places
    }
}

/// Reads a radius and its unit.
fn radius(args: Args<'_>, at: usize) -> Result<(Extent, f64), Error> {
    let radius = decimal::parse_f64(args.at(at)).ok_or(GEO_RADIUS)?;
    if radius < 0.0 {
        return Err(GEO_RADIUS_NEGATIVE);
    }
    Ok((Extent::Radius(radius), unit(args, at + 1)?))
}

/// Reads a width, a height and their unit.
fn rectangle(args: Args<'_>, at: usize) -> Result<(Extent, f64), Error> {
    let width = decimal::parse_f64(args.at(at)).ok_or(GEO_WIDTH)?;
    let height = decimal::parse_f64(args.at(at + 1)).ok_or(GEO_HEIGHT)?;
    if width < 0.0 || height < 0.0 {
        return Err(GEO_BOX_NEGATIVE);
    }
    Ok((Extent::Box { width, height }, unit(args, at + 2)?))
}

/// Returns where a member is; none if there are no members at all.
fn member(db: &View<'_>, key: &[u8], member: &[u8]) -> Result<Option<Position>, Error> {
    let Some(set) = db.read_beside::<SortedSet>(key)? else { return Ok(None) };
    set.score(member).map(of_score).ok_or(GEO_MEMBER).map(Some)
}

/// Finds up to `max` places inside a shape.
fn find(set: &SortedSet, shape: &Shape, max: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for (from, to) in shape.cover() {
        let rank = |hash: u64| set.rank_of_score(Bound::Included(hash as f64));
        let (start, end) = (rank(from), rank(to));
        for (member, score) in set.range(start, end.saturating_sub(start), Direction::Ascending) {
            if places.len() >= max {
                return places;
            }
            let position = of_score(score);
            if let Some(distance) = shape.distance(position) {
                places.push(Place { member: member.to_vec(), score, position, distance });
            }
        }
    }
    places
}

fn answer(cx: &mut Cx<'_, '_>, places: &[Place], query: &Query<'_>) {
    let further = [query.distances, query.hashes, query.positions].into_iter().filter(|wanted| *wanted).count();
    cx.out.array(places.len());
    for place in places {
        if further > 0 {
            cx.out.array(1 + further);
        }
        cx.out.bulk(&place.member);
        if query.distances {
            reply_distance(cx.out, place.distance);
        }
        if query.hashes {
            cx.out.int(place.score as i64);
        }
        if query.positions {
            reply_position(cx.out, place.position);
        }
    }
}

fn store(cx: &mut Cx<'_, '_>, key: &[u8], places: &[Place], query: &Query<'_>, form: Form) {
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let score = |place: &Place| if query.store_distances { place.distance } else { place.score };
    // A place that two ranges of a very large shape hold is one member all the same.
    let mut result = SortedSet::new();
    for place in places {
        result.insert(&place.member, score(place), &limits, seed);
    }
    cx.db.store(key, result, if form.centre == Centre::Option { "geosearchstore" } else { "georadiusstore" });
    cx.out.int(places.len() as i64);
}

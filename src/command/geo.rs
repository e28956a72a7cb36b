//! Places: sorted sets whose scores are where on Earth a member is.

use crate::base::geohash::{Place, Shape, scores_around};
use crate::base::num::parse_f64;
use crate::base::text::shown_to_zero;
use crate::command::answer;
use crate::command::zset::{Adding, add_scores, store};
use crate::ds::listpack::Item;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::Arity::AtLeast;
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;
use crate::value::Zset;
use crate::value::zset::ScoreRange;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        geoadd,
        Spec::new("geoadd", Group::Geo, AtLeast(5))
            .rewritten()
            .writes()
            .denyoom()
            .key(1)
            .since("3.2.0"),
    ),
    Command::data(
        geodist,
        Spec::new("geodist", Group::Geo, AtLeast(4)).reads().key(1).since("3.2.0"),
    ),
    Command::data(
        geohash,
        Spec::new("geohash", Group::Geo, AtLeast(2)).reads().key(1).since("3.2.0"),
    ),
    Command::data(
        geopos,
        Spec::new("geopos", Group::Geo, AtLeast(2)).reads().key(1).since("3.2.0"),
    ),
    Command::data(
        georadius,
        Spec::new("georadius", Group::Geo, AtLeast(6))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ro().access())
            .key_spec(KeySpec::after("STORE", 6).ow().update())
            .key_spec(KeySpec::after("STOREDIST", 6).ow().update())
            .since("3.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        georadius_ro,
        Spec::new("georadius_ro", Group::Geo, AtLeast(6))
            .reads()
            .key(1)
            .since("3.2.10")
            .deprecated("6.2.0"),
    ),
    Command::data(
        georadiusbymember,
        Spec::new("georadiusbymember", Group::Geo, AtLeast(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ro().access())
            .key_spec(KeySpec::after("STORE", 5).ow().update())
            .key_spec(KeySpec::after("STOREDIST", 5).ow().update())
            .since("3.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        georadiusbymember_ro,
        Spec::new("georadiusbymember_ro", Group::Geo, AtLeast(5))
            .reads()
            .key(1)
            .since("3.2.10")
            .deprecated("6.2.0"),
    ),
    Command::data(
        geosearch,
        Spec::new("geosearch", Group::Geo, AtLeast(7)).reads().key(1).since("6.2.0"),
    ),
    Command::data(
        geosearchstore,
        Spec::new("geosearchstore", Group::Geo, AtLeast(8))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::at(2).ro().access())
            .since("6.2.0"),
    ),
];

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let adding = Adding::read_conditions(cx);
    let options_end = cx.args.position();
    if !cx.args.left().is_multiple_of(3) || adding.excludes_itself() {
        return Err(CmdError::Syntax);
    }
    let (mut scores, mut members) = (Vec::new(), Vec::new());
    while !cx.args.is_done() {
        scores.push(place(&mut cx.args)?.score());
        members.push(cx.args.bytes()?);
    }
    if scores.is_empty() {
        return Err(CmdError::Syntax);
    }
    let before = cx.db.fx().dirty;
    let floats: Vec<f64> = scores.iter().map(|score| *score as f64).collect();
    let replied = add_scores(cx, key, adding, &floats, members.iter().copied())?;
    if cx.db.fx().dirty != before {
        let digits: Vec<String> = scores.iter().map(u64::to_string).collect();
        let mut words: Vec<&[u8]> = vec![b"zadd"];
        words.extend((1..options_end).map(|at| cx.args.word(at)));
        for (score, member) in digits.iter().zip(members) {
            words.extend([score.as_bytes(), member]);
        }
        cx.record.instead(&words);
    }
    Ok(replied)
}

/// A longitude and a latitude.
fn place(args: &mut Args) -> Result<Place, CmdError> {
    let place = Place { longitude: args.f64()?, latitude: args.f64()? };
    if place.is_valid() {
        return Ok(place);
    }
    let Place { longitude, latitude } = place;
    let text = format_args!("invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
    Err(CmdError::err(text.to_string()))
}

/// Meters of a unit.
fn unit(args: &mut Args) -> Result<f64, CmdError> {
    match args.option()?.as_str() {
        "m" => Ok(1.0),
        "km" => Ok(1000.0),
        "ft" => Ok(0.3048),
        "mi" => Ok(1609.34),
        _ => Err(CmdError::err("unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A length that is a number.
fn length(args: &mut Args, error: &'static str) -> Result<f64, CmdError> {
    parse_f64(args.bytes()?).ok_or(CmdError::Const(error))
}

fn place_of(zset: &Zset, member: &[u8]) -> Option<Place> {
    zset.score(member).map(Place::from_score)
}

/// GEOPOS key [member ...]
fn geopos(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let zset = cx.db.read::<Zset>(key)?;
    cx.reply.array(cx.args.left());
    for member in cx.args.remaining() {
        match zset.and_then(|zset| place_of(zset, member)) {
            Some(place) => coordinates(cx.reply, place),
            None => {
                let _ = cx.reply.null_array();
            }
        }
    }
    Ok(cx.reply.done())
}

fn coordinates(reply: &mut Reply, place: Place) {
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let _ = reply.double_digits(if text == "-0" { b"0" } else { text.as_bytes() });
    }
}

/// A length with four decimals, ties to even.
fn distance(reply: &mut Reply, length: f64) {
    let tenthousandths = (length * 10_000.0).round_ties_even() as i64;
    let text = format!("{}.{:04}", tenthousandths / 10_000, tenthousandths % 10_000);
    let _ = reply.bulk(text.as_bytes());
}

/// GEODIST key member member [M | KM | FT | MI]
fn geodist(cx: &mut Ctx) -> CmdResult {
    let (key, one, other) = (cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?);
    let meters = match cx.args.left() {
        0 => 1.0,
        1 => unit(&mut cx.args)?,
        _ => return Err(CmdError::Syntax),
    };
    let Some(zset) = cx.db.read::<Zset>(key)? else { return Ok(cx.reply.null()) };
    let (Some(one), Some(other)) = (place_of(zset, one), place_of(zset, other)) else {
        return Ok(cx.reply.null());
    };
    distance(cx.reply, one.distance(other) / meters);
    Ok(cx.reply.done())
}

/// GEOHASH key [member ...]
fn geohash(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let zset = cx.db.read::<Zset>(key)?;
    cx.reply.array(cx.args.left());
    for member in cx.args.remaining() {
        let place = zset.and_then(|zset| place_of(zset, member));
        let text = place.map(Place::geohash);
        let _ = cx.reply.bulk_or_null(text.as_ref().map(<[u8; 11]>::as_slice));
    }
    Ok(cx.reply.done())
}

/// How a command of the family says what it searches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// GEORADIUS: a place and a radius first.
    Around { stores: bool },
    /// GEORADIUSBYMEMBER: a member and a radius first.
    AroundMember { stores: bool },
    /// GEOSEARCH: all by options.
    Search,
    /// GEOSEARCHSTORE: the same, behind a destination.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Form::Around { stores: true } | Form::AroundMember { stores: true })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Nearest,
    Farthest,
}

/// Why a search by a member cannot begin.
const NO_MEMBER: CmdError = CmdError::Const("ERR could not decode requested zset member");

/// What is searched, and what becomes of it.
struct Query<'a> {
    /// Unknown while the member's key is absent.
    centre: Option<Place>,
    from_member: bool,
    from_place: bool,
    shape: Option<Shape>,
    /// Meters of the unit lengths are given in.
    meters: f64,
    order: Order,
    /// 0: all.
    count: usize,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_coordinates: bool,
    target: Option<&'a [u8]>,
    stores_distance: bool,
}

impl<'a> Query<'a> {
    fn read(
        args: &mut Args<'a>,
        form: Form,
        zset: Option<&Zset>,
        target: Option<&'a [u8]>,
    ) -> Result<Query<'a>, CmdError> {
        let mut query = Query {
            centre: None,
            from_member: false,
            from_place: false,
            shape: None,
            meters: 1.0,
            order: Order::Any,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_coordinates: false,
            target,
            stores_distance: false,
        };
        match form {
            Form::Around { .. } => {
                query.centre = Some(place(args)?);
                query.read_radius(args)?;
            }
            Form::AroundMember { .. } if zset.is_none() => drop(args.take(3)?),
            Form::AroundMember { .. } => {
                query.read_member(args, zset)?;
                query.read_radius(args)?;
            }
            Form::Search | Form::SearchStore => {}
        }
        while !args.is_done() {
            query.read_option(args, form, zset)?;
        }
        query.check(args.word(0), form)?;
        Ok(query)
    }

    fn read_option(
        &mut self,
        args: &mut Args<'a>,
        form: Form,
        zset: Option<&Zset>,
    ) -> Result<(), CmdError> {
        let word = args.option()?;
        let left = args.left();
        match word.as_str() {
            "withdist" => self.with_distance = true,
            "withhash" => self.with_hash = true,
            "withcoord" => self.with_coordinates = true,
            "any" => self.any = true,
            "asc" => self.order = Order::Nearest,
            "desc" => self.order = Order::Farthest,
            "count" if left >= 1 => {
                let count = args.i64()?;
                if count <= 0 {
                    return Err(CmdError::err("COUNT must be > 0"));
                }
                self.count = usize::try_from(count).unwrap_or(usize::MAX);
            }
            "store" | "storedist" if left >= 1 && form.may_store() => {
                self.target = Some(args.bytes()?);
                self.stores_distance = word == "storedist";
            }
            "storedist" if form == Form::SearchStore => self.stores_distance = true,
            "frommember" if left >= 1 && form.is_search() && !self.from_place => {
                self.from_member = true;
                self.read_member(args, zset)?;
            }
            "fromlonlat" if left >= 2 && form.is_search() && !self.from_member => {
                self.from_place = true;
                self.centre = Some(place(args)?);
            }
            "byradius" if left >= 2 && form.is_search() && !self.is_box() => {
                self.read_radius(args)?;
            }
            "bybox" if left >= 3 && form.is_search() && !self.is_circle() => self.read_box(args)?,
            _ => return Err(CmdError::Syntax),
        }
        Ok(())
    }

    fn is_box(&self) -> bool {
        matches!(self.shape, Some(Shape::Rectangle { .. }))
    }

    fn is_circle(&self) -> bool {
        matches!(self.shape, Some(Shape::Circle(_)))
    }

    fn read_member(&mut self, args: &mut Args, zset: Option<&Zset>) -> Result<(), CmdError> {
        let member = args.bytes()?;
        if let Some(zset) = zset {
            self.centre = Some(place_of(zset, member).ok_or(NO_MEMBER)?);
        }
        Ok(())
    }

    fn read_radius(&mut self, args: &mut Args) -> Result<(), CmdError> {
        let radius = length(args, "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(CmdError::err("radius cannot be negative"));
        }
        self.meters = unit(args)?;
        self.shape = Some(Shape::Circle(radius * self.meters));
        Ok(())
    }

    fn read_box(&mut self, args: &mut Args) -> Result<(), CmdError> {
        let width = length(args, "ERR need numeric width")?;
        let height = length(args, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CmdError::err("height or width cannot be negative"));
        }
        self.meters = unit(args)?;
        let (width, height) = (width * self.meters, height * self.meters);
        self.shape = Some(Shape::Rectangle { width, height });
        Ok(())
    }

    fn check(&mut self, name: &[u8], form: Form) -> Result<(), CmdError> {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_coordinates)
        {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            let with = "is not compatible with WITHDIST, WITHHASH and WITHCOORD options";
            return Err(CmdError::err(format_args!("{what} {with}")));
        }
        let one_of = |names: &str| {
            let name = shown_to_zero(name);
            CmdError::err(format_args!("exactly one of {names} can be specified for {name}"))
        };
        if form.is_search() && !self.from_member && !self.from_place {
            return Err(one_of("FROMMEMBER or FROMLONLAT"));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(one_of("BYRADIUS and BYBOX"));
        }
        if self.any && self.count == 0 {
            return Err(CmdError::err("the ANY argument requires COUNT argument"));
        }
        // The first so many are the nearest, unless any will do.
        if self.count > 0 && self.order == Order::Any && !self.any {
            self.order = Order::Nearest;
        }
        Ok(())
    }

    /// What is inside the shape.
    fn run<'z>(&self, zset: &'z Zset) -> Vec<Hit<'z>> {
        let mut hits = Vec::new();
        let (Some(centre), Some(shape)) = (self.centre, self.shape) else { return hits };
        let enough = if self.any { self.count } else { usize::MAX };
        'search: for range in scores_around(centre, shape) {
            let (min, max) = (range.start as f64, range.end as f64);
            let scores = ScoreRange { min, min_open: false, max, max_open: true };
            for (member, score) in zset.range(zset.ranks_by_score(&scores)) {
                let place = Place::from_score(score);
                if let Some(distance) = shape.distance_inside(centre, place) {
                    let distance = distance / self.meters;
                    hits.push(Hit { member, score, place, distance });
                    if hits.len() >= enough {
                        break 'search;
                    }
                }
            }
        }
        match self.order {
            Order::Any => {}
            Order::Nearest => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Order::Farthest => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        }
        if self.count > 0 {
            hits.truncate(self.count);
        }
        hits
    }

    fn answer(&self, reply: &mut Reply, hits: Vec<Hit<'_>>) {
        let shown = [self.with_distance, self.with_hash, self.with_coordinates];
        let extras = shown.into_iter().filter(|shown| *shown).count();
        reply.array(hits.len());
        for hit in hits {
            if extras > 0 {
                reply.array(extras + 1);
            }
            let _ = answer::item(reply, hit.member);
            if self.with_distance {
                distance(reply, hit.distance);
            }
            if self.with_hash {
                let _ = reply.int(hit.score as i64);
            }
            if self.with_coordinates {
                coordinates(reply, hit.place);
            }
        }
    }
}

/// A member inside what was searched.
struct Hit<'z> {
    member: Item<'z>,
    score: f64,
    place: Place,
    /// From the centre, in the unit of the query.
    distance: f64,
}

fn search(cx: &mut Ctx, form: Form) -> CmdResult {
    let target = match form {
        Form::SearchStore => Some(cx.args.bytes()?),
        _ => None,
    };
    let key = cx.args.bytes()?;
    let limits = cx.db.env().limits;
    let zset = cx.db.read::<Zset>(key)?;
    let query = Query::read(&mut cx.args, form, zset, target)?;
    let hits = zset.map_or(Vec::new(), |zset| query.run(zset));
    let Some(target) = query.target else {
        query.answer(cx.reply, hits);
        return Ok(cx.reply.done());
    };
    let mut found = Zset::new_skiplist(0);
    for hit in hits {
        let score = if query.stores_distance { hit.distance } else { hit.score };
        hit.member.with_bytes(|member| found.set(member, score, &limits));
    }
    found.prefer_listpack(&limits);
    cx.db.fx().dirty += found.len().saturating_sub(1) as u64;
    let event = if form.is_search() { "geosearchstore" } else { "georadiusstore" };
    Ok(store(cx, target, found, event))
}

/// GEORADIUS key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]
fn georadius(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::Around { stores: true })
}

/// GEORADIUS_RO, without STORE and STOREDIST
fn georadius_ro(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::Around { stores: false })
}

/// GEORADIUSBYMEMBER key member radius M | KM | FT | MI, and the options of GEORADIUS
fn georadiusbymember(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::AroundMember { stores: true })
}

/// GEORADIUSBYMEMBER_RO, without STORE and STOREDIST
fn georadiusbymember_ro(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::AroundMember { stores: false })
}

/// GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit |
/// BYBOX width height unit [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
fn geosearch(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::Search)
}

/// GEOSEARCHSTORE destination source, the options of GEOSEARCH without WITH…, and [STOREDIST]
fn geosearchstore(cx: &mut Ctx) -> CmdResult {
    search(cx, Form::SearchStore)
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    const SICILY: &str = "geoadd s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

    #[test]
    fn replies_are_those_of_the_manual() {
        let mut house = House::new();
        for (line, answer) in [
            (SICILY, ":2|"),
            ("geodist s Palermo Catania", "$11|166274.1516|"),
            ("geodist s Palermo Catania km", "$8|166.2742|"),
            ("geodist s Palermo None", "$-1|"),
            ("geohash s Palermo None", "*2|$11|sqc8b49rny0|$-1|"),
            (
                "geopos s Palermo None",
                "*2|*2|$20|13.36138933897018433|$20|38.11555639549629859|*-1|",
            ),
            (
                "georadius s 15 37 200 km withdist",
                "*2|*2|$7|Palermo|$8|190.4424|*2|$7|Catania|$7|56.4413|",
            ),
            (
                "geosearch s frommember Palermo byradius 1 m withhash",
                "*1|*2|$7|Palermo|:3479099956230698|",
            ),
            ("geosearch s fromlonlat 15 37 bybox 400 400 km asc", "*2|$7|Catania|$7|Palermo|"),
            ("geosearch s fromlonlat 15 37 bybox 400 400 km count 1 desc", "*1|$7|Palermo|"),
            ("geosearchstore d s fromlonlat 15 37 byradius 200 km storedist", ":2|"),
            ("zscore d Catania", "$16|56.4412578701582|"),
            ("georadius s 15 37 1 km store d", ":0|"),
            ("exists d", ":0|"),
            ("geoadd s 200 1 x", "-ERR invalid longitude,latitude pair 200.000000,1.000000|"),
            (
                "geosearch s frommember x byradius 1 m",
                "-ERR could not decode requested zset member|",
            ),
            (
                "GEOSEARCH s byradius 1 m asc asc asc",
                "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH|",
            ),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn places_are_logged_as_scores() {
        let mut house = House::new();
        house.run("geoadd s ch 13.361389 38.115556 Palermo");
        house.run("geoadd s nx 13.361389 38.115556 Palermo");
        assert_eq!(house.log(), ["SELECT 0", "zadd s ch 3479099956230698 Palermo"]);
    }
}

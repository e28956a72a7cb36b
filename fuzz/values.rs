//! What may be done to a value that came from outside: it is asked for all it holds in every way,
//! written and read again in every version, and changed by the commands of its type.

use rekeep::ds::listpack::Item;
use rekeep::persist::rdb::decode::decode;
use rekeep::persist::rdb::dump::{VerifyDump, seal, verify};
use rekeep::persist::rdb::encode::dump;
use rekeep::persist::rdb::format::Dialect;
use rekeep::persist::rdb::writer::Compression;
use rekeep::value::Value;
use rekeep::value::limits::Limits;
use rekeep::value::stream::StreamId;

use super::house;

/// So many elements are looked up one by one.
const LOOKED_UP_MAX: usize = 64;
/// The forms that a value is written in.
const FORMS: &[(u16, Compression)] =
    &[(9, Compression::Off), (10, Compression::Lzf), (11, Compression::Off)];
/// The version a payload is sealed with.
const SEALED: u16 = 11;

/// Decodes a value; what is taken is used.
pub(crate) fn meet(code: u8, dialect: Dialect, payload: &[u8]) {
    let Ok(value) = decode(code, dialect, payload, &Limits::default()) else { return };
    agrees(&value);
    let elements = elements(&value);
    let whole = dump(value.view(), SEALED, Compression::Lzf);
    house::visit(|house| {
        let taken = house.run(&[b"restore", b"k", b"0", &whole]);
        assert_eq!(taken, b"+OK\r\n", "our own dump is refused");
        for (version, compression) in FORMS {
            let again = dump(value.view(), *version, *compression);
            verify(&again, VerifyDump::Checksum).expect("our own dump is sealed");
            let taken = house.run(&[b"restore", b"again", b"0", &again, b"replace"]);
            assert_eq!(taken, b"+OK\r\n", "our own dump of version {version} is refused");
            let one = house.run(&[b"debug", b"digest-value", b"k"]);
            let other = house.run(&[b"debug", b"digest-value", b"again"]);
            assert_eq!(one, other, "another value comes back from version {version}");
        }
        for line in commands(&value) {
            let words: Vec<&[u8]> = line
                .split(' ')
                .map(|word| match word {
                    "FIRST" => elements.0.as_slice(),
                    "LAST" => elements.1.as_slice(),
                    "OTHER" => elements.2.as_slice(),
                    word => word.as_bytes(),
                })
                .collect();
            house.run(&words);
            if line.contains(" k") && line.starts_with(char::is_uppercase) {
                whole_again(house);
            }
        }
    });
}

/// What a command has left can be written and read.
fn whole_again(house: &mut house::House) {
    let reply = house.run(&[b"dump", b"k"]);
    let Some(at) = reply.iter().position(|byte| *byte == b'\n') else { return };
    if reply.starts_with(b"$-1") {
        return;
    }
    let payload = &reply[at + 1..reply.len() - 2];
    let taken = house.run(&[b"restore", b"copy", b"0", payload, b"replace"]);
    assert_eq!(taken, b"+OK\r\n", "what a command has left is refused");
}

/// Parts of what the value holds, to be asked for: first, last, and a second word of the first.
fn elements(value: &Value) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut all: Vec<Vec<u8>> = match value {
        Value::Str(text) => vec![text[..text.len().min(8)].to_vec()],
        Value::List(list) => list.iter().map(Item::to_vec).collect(),
        Value::Set(set) => set.iter().map(Item::to_vec).collect(),
        Value::Hash(hash) => hash.iter().map(|(field, _)| field.to_vec()).collect(),
        Value::Zset(zset) => zset.iter().map(|(member, _)| member.to_vec()).collect(),
        Value::Stream(stream) => {
            let ids = stream.log.range(StreamId::MIN, StreamId::MAX);
            ids.map(|entry| entry.id.text().to_vec()).collect()
        }
    };
    let other = match value {
        Value::Stream(stream) => stream.groups.keys().next().map(|name| name.to_vec()),
        _ => all.get(1).cloned(),
    };
    let last = all.pop().unwrap_or_default();
    let first = if all.is_empty() { last.clone() } else { all.swap_remove(0) };
    (first, last, other.unwrap_or_default())
}

/// All ways to what a value holds agree.
fn agrees(value: &Value) {
    let _ = (value.view().memory_bytes(), value.view().free_effort(), value.view().encoding());
    match value {
        Value::Str(_) => {}
        Value::List(list) => {
            let there: Vec<Vec<u8>> = list.iter().map(Item::to_vec).collect();
            let mut back: Vec<Vec<u8>> = list.iter().rev().map(Item::to_vec).collect();
            back.reverse();
            assert_eq!(there, back);
            assert_eq!(there.len(), list.len());
            for (index, element) in there.iter().enumerate().take(LOOKED_UP_MAX) {
                assert_eq!(list.get(index).map(Item::to_vec).as_ref(), Some(element));
                assert!(list.find(element).is_some_and(|found| found <= index));
            }
        }
        Value::Set(set) => {
            assert_eq!(set.iter().count(), set.len());
            for member in set.iter().take(LOOKED_UP_MAX) {
                assert!(member.with_bytes(|member| set.contains(member)));
            }
        }
        Value::Hash(hash) => {
            assert_eq!(hash.iter().count(), hash.len());
            for (field, value) in hash.iter().take(LOOKED_UP_MAX) {
                let found = hash.get(&field.to_vec()).map(Item::to_vec);
                assert_eq!(found, Some(value.to_vec()));
            }
        }
        Value::Zset(zset) => {
            assert_eq!(zset.iter().count(), zset.len());
            assert!(zset.iter().zip(zset.iter().skip(1)).all(|(one, next)| one.1 <= next.1));
            for (rank, (member, score)) in zset.iter().enumerate().take(LOOKED_UP_MAX) {
                assert_eq!(zset.rank(&member.to_vec()), Some((rank, score)));
            }
        }
        Value::Stream(stream) => {
            let log = &stream.log;
            let ids = log.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id);
            let ids: Vec<StreamId> = ids.collect();
            let back = log.range_back(StreamId::MIN, StreamId::MAX).map(|entry| entry.id);
            let mut back: Vec<StreamId> = back.collect();
            back.reverse();
            assert_eq!(ids, back);
            assert_eq!(ids.len() as u64, log.len());
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}

/// The commands of a type. Those that change the value begin with a capital letter.
fn commands(value: &Value) -> impl Iterator<Item = &'static str> {
    const ANY: &str = "type k|object encoding k|memory usage k|debug object k|copy k c|touch k";
    const LAST: &str =
        "sort c by nosort|sort c alpha store d|rename c d|expire k 10|persist k|del k";
    let own = match value {
        Value::Str(_) => {
            "strlen k|getrange k 0 -1|bitcount k|bitcount k 1 -2 bit|bitpos k 1|pfcount k|\
             pfcount k again|pfmerge d k|Pfadd k x y z|pfdebug encoding k|pfdebug decode again|\
             getbit k 9|bitfield k get u63 3|Setrange k 1 y|Append k z|Incr k|Incrbyfloat k 1.5|\
             bitop not d k|bitop xor d k again|Getdel k"
        }
        Value::List(_) => {
            "llen k|lrange k 0 -1|lindex k -1|lpos k LAST|lpos k OTHER rank -1 count 0|\
             Linsert k before LAST x|Linsert k after FIRST 17|Lset k 0 y|Lset k -1 LAST|\
             Lrem k -1 FIRST|Lpush k 1 OTHER|Rpush k LAST|Lmove k k left right|Ltrim k 1 -2|\
             Lpop k 2|Rpop k|sort again alpha|sort again"
        }
        Value::Set(_) => {
            "scard k|smembers k|sismember k FIRST|smismember k LAST x|srandmember k -5|\
             srandmember k 3|sscan k 0|sunionstore d k again|sinter k again|sdiff k again|\
             sintercard 2 k again|Sadd k 77|Sadd k new|Srem k FIRST|Smove k d LAST|Spop k|\
             Spop k 2|sort again alpha"
        }
        Value::Hash(_) => {
            "hlen k|hgetall k|hget k FIRST|hmget k FIRST LAST|hstrlen k LAST|hrandfield k -5|\
             hrandfield k 3 withvalues|hscan k 0|httl k fields 1 FIRST|\
             Hexpire k 100 fields 1 FIRST|Hpersist k fields 1 FIRST|Hset k new v|\
             Hset k FIRST 12|Hincrby k FIRST 1|Hincrbyfloat k LAST 1|\
             Hgetex k ex 100 fields 1 LAST|Hexpire k 0 fields 1 OTHER|Hdel k LAST|Hdel k FIRST new"
        }
        Value::Zset(_) => {
            "zcard k|zrange k 0 -1 withscores|zrange k 0 -1 rev|zrangebyscore k -inf (5|\
             zrevrangebyscore k +inf -inf|zrangebylex k - +|zlexcount k - (b|zcount k 0 inf|\
             zrank k LAST|zrevrank k FIRST|zscore k FIRST|zrandmember k -5|zscan k 0|\
             zunionstore d 2 k again|zinterstore d 2 k again weights 2 inf|zdiff 2 k again|\
             geopos k FIRST|geohash k LAST|geosearch k fromlonlat 1 1 byradius 90 km|\
             geodist k FIRST LAST|Zadd k 1.5 new|Zadd k 3 FIRST|Zincrby k inf LAST|Zpopmin k|\
             Zremrangebyrank k 1 2|Zremrangebyscore k -1 1|Zremrangebylex k [a (b|Zrem k FIRST|\
             Zpopmax k 2|sort again by nosort"
        }
        Value::Stream(_) => {
            "xlen k|xrange k - +|xrevrange k + - count 3|xinfo stream k full|xinfo stream k|\
             xinfo groups k|xinfo consumers k OTHER|xread streams k 0|xpending k OTHER|\
             xpending k OTHER - + 9|Xreadgroup group OTHER me count 2 streams k >|\
             Xreadgroup group OTHER me streams k 0|Xautoclaim k OTHER me 0 0|\
             Xclaim k OTHER me 0 FIRST LAST|Xack k OTHER FIRST|Xadd k * a b|Xadd k nomkstream * a|\
             Xdel k FIRST|Xgroup setid k OTHER LAST|Xgroup delconsumer k OTHER me|\
             Xgroup create k new LAST|Xtrim k maxlen ~ 1|Xtrim k minid LAST|Xdel k LAST|\
             Xtrim k maxlen 0|Xadd k 99-* z y|Xgroup destroy k OTHER"
        }
    };
    [ANY, own, LAST].into_iter().flat_map(|lines| lines.split('|'))
}

/// A payload of RESTORE, without a look at its checksum; then as RESTORE gets it.
pub(crate) fn restore(bytes: &[u8]) {
    if let Ok(dumped) = verify(bytes, VerifyDump::Version) {
        meet(dumped.code, Dialect::Redis, dumped.payload);
    }
    let payload = seal(bytes.to_vec(), SEALED);
    house::visit(|house| house.run(&[b"restore", b"k", b"0", &payload]));
}

//! Writes whose replies nobody hears: they are in the file as soon as those with a reply.

use std::time::Duration;

use crate::common::{Client, Server, start};
use crate::files::AOF;

/// How often a write was in the file a few milliseconds later. The server looks by itself ten times a
/// second, which finds few of them.
fn written_at_once(server: &Server, times: usize, mut write: impl FnMut(usize)) -> usize {
    let mut other: Client = server.client();
    let mut found = 0;
    for time in 0..times {
        write(time);
        std::thread::sleep(Duration::from_millis(8));
        let offset = |client: &mut Client, field| client.info(field).parse::<u64>().unwrap();
        let appended = offset(&mut other, "aof_appended_offset");
        found += usize::from(offset(&mut other, "aof_written_offset") >= appended);
    }
    assert_eq!(other.run("DBSIZE"), format!(":{times}"));
    found
}

#[test]
fn writes_without_a_reply_are_written_at_the_end_of_the_turn() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut silent = server.client();
    silent.send(&[b"CLIENT", b"REPLY", b"OFF"]);
    let found = written_at_once(&server, 40, |time| {
        silent.send(&[b"SET", format!("key:{time}").as_bytes(), b"value"]);
    });
    assert!(found >= 32, "{found} of 40");
}

#[test]
fn writes_of_clients_that_are_cut_off_are_written_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let limit = [&b"CONFIG"[..], b"SET", b"client-output-buffer-limit", b"normal 100000 0 0"];
    assert_eq!(server.client().run_words(&limit), "+OK");
    let script = "redis.call('set', KEYS[1], 'value') return string.rep('x', 200000)";
    let found = written_at_once(&server, 40, |time| {
        let mut cut_off = server.client();
        let key = format!("key:{time}");
        assert_eq!(cut_off.run_words(&[b"EVAL", script.as_bytes(), b"1", key.as_bytes()]), "");
    });
    assert!(found >= 32, "{found} of 40");
}

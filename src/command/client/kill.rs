//! CLIENT KILL: by address, as at first, or by filters.

use std::sync::Arc;

use crate::acl::users::Users;
use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::engine::blocking::end_connection;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::client_line::ClientType;
use crate::engine::context::AdminCtx;
use crate::resp::args::{Args, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// What all closed connections have in common.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    user: Option<&'a [u8]>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    age_secs_min: Option<u64>,
    with_me: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: &mut Args<'a>, users: &Users) -> Result<Filter<'a>, CmdError> {
        let mut filter = Filter::default();
        while !args.is_done() {
            let option = args.option()?;
            let value = args.bytes()?;
            match option.as_str() {
                "id" => {
                    let id = parse_i64(value).filter(|id| *id > 0);
                    let id = id.and_then(|id| u64::try_from(id).ok());
                    filter.id = Some(
                        id.ok_or_else(|| CmdError::err("client-id should be greater than 0"))?,
                    );
                }
                "maxage" => {
                    let age = parse_i64(value)
                        .ok_or_else(|| CmdError::err("maxage is not an integer or out of range"))?;
                    let age = u64::try_from(age).ok().filter(|age| *age > 0);
                    filter.age_secs_min =
                        Some(age.ok_or_else(|| CmdError::err("maxage should be greater than 0"))?);
                }
                "type" => filter.kind = Some(ClientType::parse(value)?),
                "user" if users.get(value).is_some() => filter.user = Some(value),
                "user" => {
                    let user = shown_to_zero(value);
                    return Err(CmdError::err(format_args!("No such user '{user}'")));
                }
                "addr" => filter.addr = Some(value),
                "laddr" => filter.laddr = Some(value),
                "skipme" if is_word(value, "yes") => filter.with_me = false,
                "skipme" if is_word(value, "no") => filter.with_me = true,
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(filter)
    }

    fn takes(&self, client: &Client, me: &Client, now: UnixMs) -> bool {
        let age_secs = now.0.saturating_sub(client.created.0) / 1000;
        (self.with_me || client.id != me.id)
            && self.id.is_none_or(|id| client.id == id)
            && self.kind.is_none_or(|kind| ClientType::of(client) == kind)
            && self.user.is_none_or(|user| *client.labels.lock().user == *user)
            && self.addr.is_none_or(|addr| client.addr.as_bytes() == addr)
            && self.laddr.is_none_or(|addr| client.laddr.as_bytes() == addr)
            && self.age_secs_min.is_none_or(|age| age_secs >= age)
    }
}

/// CLIENT KILL ip:port | filter value \[filter value ...\]
pub(super) fn kill(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let by_address = args.left() == 1;
    let filter = match by_address {
        true => Filter { addr: Some(args.bytes()?), with_me: true, ..Filter::default() },
        false => Filter::parse(args, &ax.core.users)?,
    };
    ax.session.publish_figures();
    let me = Arc::clone(&ax.session.client);
    let now = UnixMs::now();
    let mut closed = 0;
    for client in ax.core.clients.all() {
        if !filter.takes(&client, &me, now) {
            continue;
        }
        closed += 1;
        if client.id == me.id {
            // The answer still has to leave.
            ax.session.closing = true;
            client.set_flag(ClientFlags::CLOSING, true);
        } else {
            end_connection(ax.core, &client);
        }
        if by_address {
            break;
        }
    }
    if by_address && closed == 0 {
        return Err(CmdError::err("No such client"));
    }
    Ok(if by_address { ax.cx.reply.ok() } else { ax.cx.reply.int(closed) })
}

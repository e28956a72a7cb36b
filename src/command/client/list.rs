//! CLIENT LIST and INFO: what is known of connections, a line each.

use std::sync::Arc;

use crate::base::num::parse_i64;
use crate::engine::client::Client;
use crate::engine::client_line::{ClientType, describe};
use crate::engine::context::AdminCtx;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// CLIENT INFO
pub(super) fn info(ax: &mut AdminCtx) -> CmdResult {
    ax.session.publish_figures();
    let line = describe(ax.core, &ax.session.client) + "\n";
    Ok(ax.cx.reply.verbatim("txt", line.as_bytes()))
}

/// CLIENT LIST \[TYPE type | ID id \[id ...\]\]
pub(super) fn list(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let mut wanted: Option<ClientType> = None;
    let mut ids: Option<Vec<i64>> = None;
    if args.left() == 2 && args.take_keyword("type") {
        wanted = Some(ClientType::parse(args.bytes()?)?);
    } else if args.left() >= 2 && args.take_keyword("id") {
        let words = args.remaining();
        let parsed: Option<Vec<i64>> = words.map(parse_i64).collect();
        ids = Some(parsed.ok_or_else(|| CmdError::err("Invalid client ID"))?);
    } else if !args.is_done() {
        return Err(CmdError::Syntax);
    }
    ax.session.publish_figures();
    let all = ax.core.clients.all();
    let listed: Vec<&Arc<Client>> = match &ids {
        Some(ids) => {
            let find = |id: &i64| all.iter().find(|client| client.id as i64 == *id);
            ids.iter().filter_map(find).collect()
        }
        None => {
            let fits = |client: &&Arc<Client>| {
                wanted.is_none_or(|wanted| ClientType::of(client) == wanted)
            };
            all.iter().filter(fits).collect()
        }
    };
    let text: String = listed.iter().map(|client| describe(ax.core, client) + "\n").collect();
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}

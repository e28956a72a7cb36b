//! Lua scripts: the VM of a thread and what a script may call.

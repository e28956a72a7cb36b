//! `redis.call`: hands its arguments to the host's function and raises the error it answers.
//!
//! A Rust closure can raise only errors of its own type; scripts expect a table with `err`. So this
//! is a plain C function: no value with a destructor lives in its frame when Lua jumps out of it.
#![allow(unsafe_code)] // A raw function of Lua's C interface.

use std::ffi::c_int;

use mlua::ffi;

/// A C closure whose first upvalue is the host's table; its `call` is what runs for every script.
pub(super) unsafe extern "C-unwind" fn call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls this with a valid state and room for twenty values on its stack, of which
    // two are used beside the arguments; every index below is of a value just pushed.
    unsafe {
        let words = ffi::lua_gettop(state);
        ffi::lua_pushstring(state, c"call".as_ptr());
        ffi::lua_rawget(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, words, 1);
        if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
            return 1;
        }
        ffi::lua_pushstring(state, c"err".as_ptr());
        ffi::lua_rawget(state, -2);
        let failed = ffi::lua_type(state, -1) != ffi::LUA_TNIL;
        ffi::lua_settop(state, -2);
        if !failed {
            return 1;
        }
        let mut caller: ffi::lua_Debug = std::mem::zeroed();
        if ffi::lua_getstack(state, 1, &mut caller) == 1
            && ffi::lua_getinfo(state, c"l".as_ptr(), &mut caller) != 0
            && caller.currentline > 0
        {
            ffi::lua_pushstring(state, c"line".as_ptr());
            ffi::lua_pushnumber(state, caller.currentline.into());
            ffi::lua_rawset(state, -3);
        }
        ffi::lua_error(state)
    }
}

//! What keeps scripts from changing what other scripts see: read-only tables, a hook that counts
//! instructions, and guards before functions of Lua that would go around them or too far.
//!
//! A read-only table is an empty one in front of the real one, which its metatable names.
#![allow(unsafe_code)] // Plain functions of Lua's C interface.

use std::ffi::{c_int, c_void};
use std::ptr;

use mlua::ffi::{self, lua_State};

use crate::base::text::shown_to_zero;
use crate::script::machine;
use crate::script::raw::{Plain, Raise, Stack};

const READONLY: &str = "Attempt to modify a readonly table";

/// Results of `unpack` at the most; Lua's own count would overflow.
const RESULTS_MAX: f64 = 8000.0;

/// An index of `unpack` at the most.
const INDEX_MAX: f64 = (1 << 30) as f64;

/// Each item of a pattern may take a frame of the C stack, which is not endless.
const PATTERN_BYTES_MAX: usize = 2000;

/// Instructions of Lua between two looks at the time.
const TICK_INSTRUCTIONS: c_int = 100_000;

/// The key under which a metatable of a read-only table keeps the real one.
static MARK: u8 = 0;

fn mark() -> *mut c_void {
    ptr::from_ref(&MARK).cast_mut().cast()
}

/// Replaces the table on top by a read-only one.
pub(super) fn protect(stack: Stack) {
    stack.push_table(0, 0);
    stack.push_table(0, 4);
    stack.push_value(-3);
    stack.set(-2, "__index");
    stack.push_native(refuse);
    stack.set(-2, "__newindex");
    stack.push_bool(false);
    stack.set(-2, "__metatable");
    // SAFETY: the metatable is on top; the key is a bare pointer.
    unsafe {
        ffi::lua_pushlightuserdata(stack.state(), mark());
        ffi::lua_pushvalue(stack.state(), -4);
        ffi::lua_rawset(stack.state(), -3);
    }
    stack.set_metatable(-2);
    stack.remove(-2);
}

/// Raises what a write to a read-only table raises.
fn refuse(_: Stack) -> Result<c_int, Raise> {
    Err(Raise::Text(READONLY.to_owned()))
}

/// Raises what reading a global that is not there raises.
pub(super) fn absent(stack: Stack) -> Result<c_int, Raise> {
    let name = shown_to_zero(stack.want_text(2)?);
    let text = format!("Script attempted to access nonexistent global variable '{name}'");
    Err(Raise::Text(text))
}

/// Pushes the real table of a read-only one; otherwise nothing.
unsafe fn push_real(state: *mut lua_State, at: c_int) -> bool {
    // SAFETY: callers have a valid state with room on its stack; every index is of a value just
    // pushed.
    unsafe {
        if ffi::lua_type(state, at) != ffi::LUA_TTABLE || ffi::lua_getmetatable(state, at) == 0 {
            return false;
        }
        ffi::lua_pushlightuserdata(state, mark());
        ffi::lua_rawget_(state, -2);
        ffi::lua_remove(state, -2);
        let marked = ffi::lua_type(state, -1) == ffi::LUA_TTABLE;
        if !marked {
            ffi::lua_settop(state, -2);
        }
        marked
    }
}

/// Goes on with Lua's own function, the first upvalue, in the same frame.
unsafe fn go_on(state: *mut lua_State) -> c_int {
    // SAFETY: guards are made with a function of Lua's libraries that has no upvalues itself.
    unsafe {
        match ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)) {
            Some(plain) => plain(state),
            None => 0,
        }
    }
}

unsafe fn raise(state: *mut lua_State, text: &'static std::ffi::CStr) -> c_int {
    // SAFETY: the text is a constant without a percent sign; nothing is to be dropped.
    unsafe { ffi::luaL_error(state, text.as_ptr()) }
}

/// Functions that change the table that is their first argument.
unsafe extern "C-unwind" fn changing(state: *mut lua_State) -> c_int {
    // SAFETY: see the functions it calls.
    unsafe {
        match push_real(state, 1) {
            true => {
                ffi::lua_pushlstring_(state, READONLY.as_ptr().cast(), READONLY.len());
                ffi::lua_error(state)
            }
            false => go_on(state),
        }
    }
}

/// Functions that read the table that is their first argument.
unsafe extern "C-unwind" fn reading(state: *mut lua_State) -> c_int {
    // SAFETY: see the functions it calls.
    unsafe {
        if push_real(state, 1) {
            ffi::lua_replace(state, 1);
        }
        go_on(state)
    }
}

/// `pairs`, made with the guarded and with the bare `next`.
unsafe extern "C-unwind" fn pairs(state: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua's C interface; its two upvalues are functions.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let upvalue = match push_real(state, 1) {
            true => 1,
            false => 2,
        };
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(upvalue));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: a guard; see `go_on`.
    unsafe {
        let number = |at, default| match ffi::lua_isnumber(state, at) != 0 {
            true => ffi::lua_tonumber(state, at),
            false => default,
        };
        let first = number(2, 1.0);
        let last = number(3, ffi::lua_objlen(state, 1) as f64);
        let fits = last - first < RESULTS_MAX && first >= -INDEX_MAX && last <= INDEX_MAX;
        match fits || last < first {
            true => go_on(state),
            false => raise(state, c"too many results to unpack"),
        }
    }
}

unsafe extern "C-unwind" fn matching(state: *mut lua_State) -> c_int {
    // SAFETY: a guard; see `go_on`.
    unsafe {
        let is_string = ffi::lua_type(state, 2) == ffi::LUA_TSTRING;
        // The fourth argument of `find` says that the pattern is none.
        let is_plain = ffi::lua_toboolean(state, 4) != 0
            && ffi::lua_toboolean(state, ffi::lua_upvalueindex(2)) != 0;
        if is_string && !is_plain && ffi::lua_objlen(state, 2) > PATTERN_BYTES_MAX {
            return raise(state, c"pattern too complex");
        }
        go_on(state)
    }
}

/// `loadstring`: text alone.
unsafe extern "C-unwind" fn loadstring(state: *mut lua_State) -> c_int {
    // SAFETY: a guard; the string has at least the byte that is read, its ending zero.
    unsafe {
        let text = ffi::luaL_checklstring(state, 1, ptr::null_mut());
        if *text.cast::<u8>() == ffi::LUA_SIGNATURE[0] {
            ffi::lua_pushnil(state);
            ffi::lua_pushlstring_(state, c"binary chunks are not loaded".as_ptr(), 28);
            return 2;
        }
        go_on(state)
    }
}

/// `load`: gathers the pieces, then goes on as `loadstring`, the first upvalue.
unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua's C interface: every index is of a value just pushed.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 2);
        ffi::lua_pushlstring_(state, ptr::null(), 0);
        loop {
            ffi::lua_pushvalue(state, 1);
            ffi::lua_call(state, 0, 1);
            let is_string = ffi::lua_isstring(state, -1) != 0;
            if !is_string && ffi::lua_type(state, -1) != ffi::LUA_TNIL {
                return raise(state, c"reader function must return a string");
            }
            if !is_string || ffi::lua_objlen(state, -1) == 0 {
                ffi::lua_settop(state, 3);
                break;
            }
            ffi::lua_concat(state, 2);
        }
        // loadstring(text, name)
        ffi::lua_replace(state, 1);
        if ffi::lua_type(state, 2) == ffi::LUA_TNIL {
            ffi::lua_settop(state, 1);
            ffi::lua_pushlstring_(state, c"=(load)".as_ptr(), 7);
        }
        loadstring(state)
    }
}

/// `pcall`: gives the text of an error whose table has one.
unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua's C interface: every index is of a value just pushed.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let arguments = ffi::lua_gettop(state) - 1;
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
        if status != ffi::LUA_OK && ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushlstring_(state, c"err".as_ptr(), 3);
            ffi::lua_rawget_(state, -2);
            match ffi::lua_type(state, -1) {
                ffi::LUA_TSTRING => ffi::lua_replace(state, -2),
                _ => ffi::lua_settop(state, -2),
            }
        }
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        ffi::lua_insert(state, 1);
        ffi::lua_gettop(state)
    }
}

/// Guards of fields: of the table at `at` if it has the field.
pub(super) fn place(stack: Stack, at: c_int, field: &str, guard: Plain) {
    stack.get(at, field);
    stack.push_plain(guard, 1);
    stack.set(at, field);
}

/// Puts all guards before the functions of the table at `at`, which has Lua's base functions and
/// libraries by their names.
pub(super) fn place_all(stack: Stack, at: c_int) {
    for field in ["rawset", "setmetatable"] {
        place(stack, at, field, changing);
    }
    place(stack, at, "rawget", reading);
    stack.get(at, "next");
    stack.push_value(-1);
    stack.push_plain(reading, 1);
    stack.push_value(-1);
    stack.set(at, "next");
    stack.insert(-2);
    stack.push_plain(pairs, 2);
    stack.set(at, "pairs");
    place(stack, at, "unpack", unpack);
    stack.get(at, "loadstring");
    stack.push_value(-1);
    stack.push_plain(load, 1);
    stack.set(at, "load");
    stack.push_plain(loadstring, 1);
    stack.set(at, "loadstring");
    stack.push_plain(pcall, 0);
    stack.set(at, "pcall");
    stack.get(at, "table");
    let table = stack.top();
    for field in ["insert", "remove", "sort", "setn"] {
        place(stack, table, field, changing);
    }
    stack.pop(1);
    stack.get(at, "string");
    let string = stack.top();
    for field in ["find", "match", "gmatch", "gsub", "gfind"] {
        stack.get(string, field);
        stack.push_bool(field == "find");
        stack.push_plain(matching, 2);
        stack.set(string, field);
    }
    stack.pop(1);
}

/// Counts instructions and asks whether the script may go on. One that may not raises at every
/// line from then on, so that no `pcall` of its own keeps it alive.
unsafe extern "C-unwind" fn on_count(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    let Some(text) = machine::tick() else { return };
    // SAFETY: nothing in this frame is to be dropped.
    unsafe {
        ffi::lua_sethook(state, Some(on_count), ffi::LUA_MASKLINE, 0);
        Stack::new(state).push_error(text);
        ffi::lua_error(state)
    }
}

/// Begins to count anew.
pub(super) fn watch(stack: Stack) {
    // SAFETY: the state is valid.
    unsafe {
        ffi::lua_sethook(stack.state(), Some(on_count), ffi::LUA_MASKCOUNT, TICK_INSTRUCTIONS);
    }
}

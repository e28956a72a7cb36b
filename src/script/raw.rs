//! The stack of a Lua state: the few raw operations that everything in this folder is made of.
//!
//! No operation of [`Stack`] calls a metamethod, so none raises save for lack of memory: a native
//! function is plain Rust that answers with an error, and [`enter`] raises it once nothing is left
//! in the frame that has a destructor.
#![allow(unsafe_code)] // The door to Lua's C interface.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi::{self, lua_State};

use crate::base::text::bytes_of;

/// The stack of a state, as the function that runs now sees it.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    state: *mut lua_State,
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, behind the last argument.
    None,
    /// `nil`
    Nil,
    /// A boolean.
    Boolean,
    /// A bare pointer: `cjson.null`.
    Light,
    /// A number.
    Number,
    /// A string.
    String,
    /// A table.
    Table,
    /// A function.
    Function,
    /// A userdata or a coroutine.
    Other,
}

/// What a native function raises.
pub(super) enum Raise {
    /// A text, which is given the place in the script in front.
    Text(String),
    /// A table with the text as its `err`.
    Table(String),
    /// Argument so-and-so is wrong.
    Argument(c_int, String),
    /// The value on top of the stack.
    Top,
}

/// A function for scripts; answers how many values on top of the stack it returns.
pub(super) type Native = fn(Stack) -> Result<c_int, Raise>;

/// A function of the C interface.
pub(super) type Plain = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

/// Where a function stands.
pub(super) struct Place {
    /// `@user_script`
    pub(super) source: Vec<u8>,
    /// The line that runs; none in functions that are not Lua.
    pub(super) line: c_int,
    /// Whether it is not Lua.
    pub(super) is_native: bool,
}

/// A value kept in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept(c_int);

/// The table of global variables, as an index.
pub(super) const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;

/// The first value a function was made with, as an index.
pub(super) const UPVALUE: c_int = ffi::lua_upvalueindex(2);

/// Runs the [`Native`] whose address is the first upvalue.
unsafe extern "C-unwind" fn enter(state: *mut lua_State) -> c_int {
    // SAFETY: only `push_native` makes closures of this function, with a `Native` as the upvalue; a
    // function pointer has the size of a data pointer here.
    let native = unsafe {
        let address = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1));
        std::mem::transmute::<*mut c_void, Native>(address)
    };
    let stack = Stack { state };
    match stack.try_native(native) {
        Ok(results) => results,
        // SAFETY: the error is on the stack, and this frame holds nothing that is to be dropped.
        Err(Failed::Raised) => unsafe { ffi::lua_error(state) },
        // SAFETY: as above; the text is on the stack, where nothing frees it.
        Err(Failed::Argument(at)) => unsafe {
            ffi::luaL_argerror(state, at, ffi::lua_tolstring(state, -1, ptr::null_mut()))
        },
    }
}

enum Failed {
    Raised,
    Argument(c_int),
}

impl Stack {
    /// The stack of a state.
    ///
    /// # Safety
    /// The state must live as long as the result is used.
    pub(super) unsafe fn new(state: *mut lua_State) -> Stack {
        Stack { state }
    }

    /// The state itself.
    pub(super) fn state(self) -> *mut lua_State {
        self.state
    }

    /// Runs a native function and leaves on the stack what it raises.
    fn try_native(self, native: Native) -> Result<c_int, Failed> {
        let ran = catch_unwind(AssertUnwindSafe(|| native(self)));
        let raise = match ran {
            Ok(Ok(results)) => return Ok(results),
            Ok(Err(raise)) => raise,
            Err(_) => Raise::Text("internal error".to_owned()),
        };
        match raise {
            Raise::Top => {}
            Raise::Table(text) => self.push_error(&text),
            Raise::Text(text) => {
                // SAFETY: level 1 is the caller, or nothing.
                unsafe { ffi::luaL_where(self.state, 1) };
                self.push(&bytes_of(&text));
                // SAFETY: two strings are on top.
                unsafe { ffi::lua_concat(self.state, 2) };
            }
            Raise::Argument(at, text) => {
                self.push(&bytes_of(&text));
                return Err(Failed::Argument(at));
            }
        }
        Err(Failed::Raised)
    }

    /// `{ err = text }`
    pub(super) fn push_error(self, text: &str) {
        self.push_table(0, 4);
        self.push(&bytes_of(text));
        self.set(-2, "err");
    }

    /// How many values there are.
    pub(super) fn top(self) -> c_int {
        // SAFETY: the state is valid, as in all of these.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// Makes it so many.
    pub(super) fn set_top(self, top: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_settop(self.state, top) }
    }

    /// Removes values from the top.
    pub(super) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Whether there is room for more values.
    pub(super) fn has_room(self, count: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_checkstack(self.state, count) != 0 }
    }

    /// What lies at `at`.
    pub(super) fn kind(self, at: c_int) -> Kind {
        // SAFETY: as above.
        match unsafe { ffi::lua_type(self.state, at) } {
            ffi::LUA_TNONE => Kind::None,
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::Light,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The name of a value's type.
    pub(super) fn type_name(self, at: c_int) -> &'static str {
        let name = unsafe {
            // SAFETY: names of types are constants of the library.
            CStr::from_ptr(ffi::lua_typename(self.state, ffi::lua_type(self.state, at)))
        };
        name.to_str().unwrap_or("value")
    }

    /// A number, or a string that is one; `None` for all else.
    pub(super) fn number(self, at: c_int) -> Option<f64> {
        // SAFETY: as above.
        unsafe {
            (ffi::lua_isnumber(self.state, at) != 0).then(|| ffi::lua_tonumber(self.state, at))
        }
    }

    /// Whether a value is neither nil nor false.
    pub(super) fn truth(self, at: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_toboolean(self.state, at) != 0 }
    }

    /// The bytes of a string; a number becomes a string where it lies. They hold as long as the
    /// value stays on the stack.
    pub(super) fn text<'s>(self, at: c_int) -> Option<&'s [u8]> {
        let mut len = 0;
        // SAFETY: Lua's strings do not move; callers leave the value where it lies.
        unsafe {
            let bytes = ffi::lua_tolstring(self.state, at, &mut len);
            (!bytes.is_null()).then(|| std::slice::from_raw_parts(bytes.cast::<u8>(), len))
        }
    }

    /// Whether it is `cjson.null`.
    pub(super) fn is_null(self, at: c_int) -> bool {
        // SAFETY: as above.
        self.kind(at) == Kind::Light && unsafe { ffi::lua_touserdata(self.state, at).is_null() }
    }

    /// Pushes nil.
    pub(super) fn push_nil(self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    /// Pushes a boolean.
    pub(super) fn push_bool(self, yes: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.state, yes.into()) }
    }

    /// Pushes a number.
    pub(super) fn push_number(self, number: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.state, number) }
    }

    /// Pushes a string.
    pub(super) fn push(self, bytes: &[u8]) {
        // SAFETY: Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.state, bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Pushes `cjson.null`.
    pub(super) fn push_null(self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushlightuserdata(self.state, ptr::null_mut()) }
    }

    /// Pushes an empty table with room.
    pub(super) fn push_table(self, elements: usize, fields: usize) {
        const ROOM_MAX: usize = 1 << 16;
        let (elements, fields) = (elements.min(ROOM_MAX), fields.min(ROOM_MAX));
        // SAFETY: as above; the numbers are small.
        unsafe { ffi::lua_createtable(self.state, elements as c_int, fields as c_int) }
    }

    /// Pushes a copy of a value.
    pub(super) fn push_value(self, at: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushvalue(self.state, at) }
    }

    /// Pushes a native function.
    pub(super) fn push_native(self, native: Native) {
        // SAFETY: see `enter`.
        unsafe {
            ffi::lua_pushlightuserdata(self.state, native as *mut c_void);
            ffi::lua_pushcclosure(self.state, enter, 1);
        }
    }

    /// Replaces the value on top by a native function that finds it at [`UPVALUE`].
    pub(super) fn wrap_native(self, native: Native) {
        // SAFETY: see `enter`.
        unsafe {
            ffi::lua_pushlightuserdata(self.state, native as *mut c_void);
            ffi::lua_insert(self.state, -2);
            ffi::lua_pushcclosure(self.state, enter, 2);
        }
    }

    /// Pushes a function of the C interface, made with so many values from the top.
    pub(super) fn push_plain(self, plain: Plain, values: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushcclosure(self.state, plain, values) }
    }

    /// Moves the top value to `at`, and what lies there and above up.
    pub(super) fn insert(self, at: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_insert(self.state, at) }
    }

    /// Removes the value at `at`.
    pub(super) fn remove(self, at: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_remove(self.state, at) }
    }

    /// Puts the top value in the place of another.
    pub(super) fn replace(self, at: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_replace(self.state, at) }
    }

    /// Pushes a field of the table at `at`.
    pub(super) fn get(self, at: c_int, field: &str) {
        let at = self.absolute(at);
        self.push(field.as_bytes());
        // SAFETY: callers name a table.
        unsafe { ffi::lua_rawget_(self.state, at) }
    }

    /// Takes the top value as a field of the table at `at`.
    pub(super) fn set(self, at: c_int, field: &str) {
        let at = self.absolute(at);
        self.push(field.as_bytes());
        self.insert(-2);
        // SAFETY: callers name a table.
        unsafe { ffi::lua_rawset(self.state, at) }
    }

    /// Pushes the element of a table.
    pub(super) fn get_index(self, at: c_int, index: c_int) {
        // SAFETY: callers name a table.
        unsafe { ffi::lua_rawgeti_(self.state, at, index) }
    }

    /// Takes the top value as an element of the table at `at`.
    pub(super) fn set_index(self, at: c_int, index: c_int) {
        // SAFETY: callers name a table.
        unsafe { ffi::lua_rawseti_(self.state, at, index) }
    }

    /// Takes key and value from the top into the table at `at`. A key that Lua would refuse, nil or
    /// NaN, is let go.
    pub(super) fn set_pair(self, at: c_int) {
        let refused = match self.kind(-2) {
            Kind::Nil => true,
            Kind::Number => self.number(-2).is_none_or(f64::is_nan),
            _ => false,
        };
        match refused {
            true => self.pop(2),
            // SAFETY: the key is checked.
            false => unsafe { ffi::lua_rawset(self.state, at) },
        }
    }

    /// Replaces the key on top by the next key of the table at `at` and its value; false, and
    /// nothing on top, at the end. The key must be of this table.
    pub(super) fn next(self, at: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_next(self.state, at) != 0 }
    }

    /// Takes the top value as the metatable of `at`.
    pub(super) fn set_metatable(self, at: c_int) {
        // SAFETY: callers have a table on top.
        unsafe { ffi::lua_setmetatable(self.state, at) };
    }

    /// Pushes the metatable, if there is one.
    pub(super) fn get_metatable(self, at: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_getmetatable(self.state, at) != 0 }
    }

    /// Keeps the top value.
    pub(super) fn keep(self) -> Kept {
        // SAFETY: a value is on top.
        Kept(unsafe { ffi::luaL_ref(self.state, ffi::LUA_REGISTRYINDEX) })
    }

    /// Pushes a kept value.
    pub(super) fn push_kept(self, kept: Kept) {
        self.get_index(ffi::LUA_REGISTRYINDEX, kept.0);
    }

    /// Lets a kept value go.
    pub(super) fn let_go(self, kept: Kept) {
        // SAFETY: as above.
        unsafe { ffi::luaL_unref(self.state, ffi::LUA_REGISTRYINDEX, kept.0) }
    }

    /// Compiles text; the function, or the compiler's error, is on top.
    pub(super) fn load(self, text: &[u8], name: &CStr) -> bool {
        if text.first() == Some(&ffi::LUA_SIGNATURE[0]) {
            self.push(b"attempt to load a binary chunk");
            return false;
        }
        // SAFETY: the bytes are read during the call.
        unsafe {
            let bytes = text.as_ptr().cast();
            ffi::luaL_loadbuffer(self.state, bytes, text.len(), name.as_ptr()) == ffi::LUA_OK
        }
    }

    /// Calls the function below its arguments. False leaves an error instead of the results.
    pub(super) fn call(self, arguments: c_int, results: c_int, handler: c_int) -> bool {
        // SAFETY: function and arguments are on the stack.
        unsafe { ffi::lua_pcall(self.state, arguments, results, handler) == ffi::LUA_OK }
    }

    /// Where the function `level` levels up stands; 0 is the one that runs.
    pub(super) fn place(self, level: c_int) -> Option<Place> {
        // SAFETY: the record is filled by the calls; its strings live as long as the function.
        unsafe {
            let mut about: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.state, level, &mut about) == 0
                || ffi::lua_getinfo(self.state, c"Sl".as_ptr(), &mut about) == 0
            {
                return None;
            }
            Some(Place {
                source: CStr::from_ptr(about.source).to_bytes().to_vec(),
                line: about.currentline,
                is_native: CStr::from_ptr(about.what) == c"C",
            })
        }
    }

    /// Bytes that the machine's values take.
    pub(super) fn memory_bytes(self) -> usize {
        // SAFETY: as above.
        let kib = unsafe { ffi::lua_gc(self.state, ffi::LUA_GCCOUNT, 0) };
        usize::try_from(kib).unwrap_or(0) * 1024
    }

    fn absolute(self, at: c_int) -> c_int {
        let is_relative = at < 0 && at > ffi::LUA_REGISTRYINDEX;
        if is_relative { self.top() + at + 1 } else { at }
    }

    /// Argument `at` as a string, or the error that says it is none.
    pub(super) fn want_text<'s>(self, at: c_int) -> Result<&'s [u8], Raise> {
        self.text(at).ok_or_else(|| self.wanted(at, "string"))
    }

    /// Argument `at` as a number.
    pub(super) fn want_number(self, at: c_int) -> Result<f64, Raise> {
        self.number(at).ok_or_else(|| self.wanted(at, "number"))
    }

    /// Argument `at` as an integer, cut as C cuts a double.
    pub(super) fn want_integer(self, at: c_int, default: Option<i64>) -> Result<i64, Raise> {
        match default {
            Some(default) if matches!(self.kind(at), Kind::None | Kind::Nil) => Ok(default),
            _ => Ok(self.want_number(at)? as i64),
        }
    }

    fn wanted(self, at: c_int, kind: &str) -> Raise {
        let got = if self.kind(at) == Kind::None { "no value" } else { self.type_name(at) };
        Raise::Argument(at, format!("{kind} expected, got {got}"))
    }
}

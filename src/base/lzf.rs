//! LZF compression as RDB strings use it.

//! The permission extension: one set has exactly one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::{MAX_EXTENSION_LEN, MAX_PERMISSIONS, Permission, PermissionSet};

fuzz_target!(|der: &[u8]| {
    let Ok(set) = PermissionSet::from_der(der) else { return };
    assert_eq!(set.to_der().as_deref(), Ok(der), "a second encoding of the same set");
    assert!(set.len() <= MAX_PERMISSIONS && der.len() <= MAX_EXTENSION_LEN);
    for permission in set.iter() {
        assert_eq!(Permission::parse(permission.as_str()).as_ref(), Ok(permission));
        assert!(!permission.as_str().chars().any(char::is_control));
    }
    assert!(set.is_within(&set));
    assert_eq!(set.intersection(&set), set);
});

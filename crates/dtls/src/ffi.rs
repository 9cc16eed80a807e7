//! The functions and constants of AWS-LC that are used here, as its headers declare them
//! (`aws-lc/include/openssl/{ssl,bio,err,evp,pool,stack}.h` of the pinned version).
//!
//! Functions of libcrypto carry the prefix that `aws-lc-sys` gives them; libssl, compiled by
//! `build.rs`, has none.
#![allow(
    non_camel_case_types,
    non_snake_case,
    clippy::upper_case_acronyms,
    reason = "the names are the library's"
)]

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

/// A C type of which only addresses are known here.
macro_rules! opaque {
    ($($name:ident),* $(,)?) => {
        $(
            #[repr(C)]
            pub(crate) struct $name {
                _private: [u8; 0],
            }
        )*
    };
}

opaque!(
    SSL,
    SSL_CTX,
    SSL_METHOD,
    BIO,
    BIO_METHOD,
    EVP_PKEY,
    CRYPTO_BUFFER,
    Stack
);

#[repr(C)]
pub(crate) struct SRTP_PROTECTION_PROFILE {
    pub(crate) name: *const c_char,
    pub(crate) id: c_ulong,
}

/// Bytes that are read from the front.
#[repr(C)]
pub(crate) struct CBS {
    pub(crate) data: *const u8,
    pub(crate) len: usize,
}

pub(crate) type Verify = unsafe extern "C" fn(*mut SSL, *mut u8) -> c_int;
pub(crate) type Clock = unsafe extern "C" fn(*const SSL, *mut libc::timeval);
pub(crate) type Read = unsafe extern "C" fn(*mut BIO, *mut c_char, c_int) -> c_int;
pub(crate) type Write = unsafe extern "C" fn(*mut BIO, *const c_char, c_int) -> c_int;
pub(crate) type Ctrl = unsafe extern "C" fn(*mut BIO, c_int, c_long, *mut c_void) -> c_long;

pub(crate) const DTLS1_2_VERSION: u16 = 0xfefd;
pub(crate) const SSL_OP_NO_QUERY_MTU: u32 = 0x1000;
pub(crate) const SSL_OP_NO_TICKET: u32 = 0x4000;
pub(crate) const SSL_SESS_CACHE_OFF: c_int = 0;
pub(crate) const SSL_VERIFY_PEER: c_int = 1;
pub(crate) const SSL_VERIFY_FAIL_IF_NO_PEER_CERT: c_int = 2;
pub(crate) const SSL_VERIFY_OK: c_int = 0;
pub(crate) const SSL_VERIFY_INVALID: c_int = 1;
pub(crate) const SSL_AD_BAD_CERTIFICATE: u8 = 42;
pub(crate) const SSL_ERROR_WANT_READ: c_int = 2;
pub(crate) const SSL_ERROR_ZERO_RETURN: c_int = 6;
pub(crate) const BIO_CTRL_FLUSH: c_int = 11;
pub(crate) const BIO_TYPE_SOURCE_SINK: c_int = 0x400;
/// `ex_data` index 0 belongs to the application, as `SSL_set_app_data` has it.
pub(crate) const APP_DATA: c_int = 0;

pub(crate) const SSL_SIGN_RSA_PKCS1_SHA256: u16 = 0x0401;
pub(crate) const SSL_SIGN_RSA_PKCS1_SHA384: u16 = 0x0501;
pub(crate) const SSL_SIGN_RSA_PKCS1_SHA512: u16 = 0x0601;
pub(crate) const SSL_SIGN_ECDSA_SECP256R1_SHA256: u16 = 0x0403;
pub(crate) const SSL_SIGN_ECDSA_SECP384R1_SHA384: u16 = 0x0503;
pub(crate) const SSL_SIGN_ECDSA_SECP521R1_SHA512: u16 = 0x0603;
pub(crate) const SSL_SIGN_RSA_PSS_RSAE_SHA256: u16 = 0x0804;
pub(crate) const SSL_SIGN_RSA_PSS_RSAE_SHA384: u16 = 0x0805;
pub(crate) const SSL_SIGN_RSA_PSS_RSAE_SHA512: u16 = 0x0806;
pub(crate) const SSL_SIGN_ED25519: u16 = 0x0807;

pub(crate) const ERR_LIB_SSL: u32 = 16;
pub(crate) const SSL_R_BAD_ECC_CERT: u32 = 107;
pub(crate) const SSL_R_CERTIFICATE_VERIFY_FAILED: u32 = 125;
pub(crate) const SSL_R_NO_SHARED_CIPHER: u32 = 184;
pub(crate) const SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: u32 = 192;
pub(crate) const SSL_R_UNKNOWN_CERTIFICATE_TYPE: u32 = 228;
pub(crate) const SSL_R_UNSUPPORTED_PROTOCOL: u32 = 240;
pub(crate) const SSL_R_WRONG_CURVE: u32 = 243;
pub(crate) const SSL_R_WRONG_SIGNATURE_TYPE: u32 = 245;
pub(crate) const SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS: u32 = 253;
pub(crate) const SSL_R_NO_SHARED_GROUP: u32 = 266;
/// Reasons from here on are alerts received.
pub(crate) const SSL_AD_REASON_OFFSET: u32 = 1000;

#[link(name = "plenum_ssl", kind = "static")]
unsafe extern "C" {
    pub(crate) fn DTLS_with_buffers_method() -> *const SSL_METHOD;
    pub(crate) fn SSL_CTX_new(method: *const SSL_METHOD) -> *mut SSL_CTX;
    pub(crate) fn SSL_CTX_up_ref(ctx: *mut SSL_CTX) -> c_int;
    pub(crate) fn SSL_CTX_free(ctx: *mut SSL_CTX);
    pub(crate) fn SSL_CTX_set_min_proto_version(ctx: *mut SSL_CTX, version: u16) -> c_int;
    pub(crate) fn SSL_CTX_set_max_proto_version(ctx: *mut SSL_CTX, version: u16) -> c_int;
    pub(crate) fn SSL_CTX_set_options(ctx: *mut SSL_CTX, options: u32) -> u32;
    pub(crate) fn SSL_CTX_set_session_cache_mode(ctx: *mut SSL_CTX, mode: c_int) -> c_int;
    pub(crate) fn SSL_CTX_set_max_cert_list(ctx: *mut SSL_CTX, len: usize);
    pub(crate) fn SSL_CTX_set_strict_cipher_list(ctx: *mut SSL_CTX, list: *const c_char) -> c_int;
    pub(crate) fn SSL_CTX_set1_groups_list(ctx: *mut SSL_CTX, groups: *const c_char) -> c_int;
    pub(crate) fn SSL_CTX_set_srtp_profiles(ctx: *mut SSL_CTX, profiles: *const c_char) -> c_int;
    pub(crate) fn SSL_CTX_set_verify_algorithm_prefs(
        ctx: *mut SSL_CTX,
        prefs: *const u16,
        len: usize,
    ) -> c_int;
    pub(crate) fn SSL_CTX_set_custom_verify(ctx: *mut SSL_CTX, mode: c_int, callback: Option<Verify>);
    pub(crate) fn SSL_CTX_set_current_time_cb(ctx: *mut SSL_CTX, callback: Option<Clock>);
    pub(crate) fn SSL_CTX_set_chain_and_key(
        ctx: *mut SSL_CTX,
        certificates: *const *mut CRYPTO_BUFFER,
        len: usize,
        key: *mut EVP_PKEY,
        method: *const c_void,
    ) -> c_int;

    pub(crate) fn SSL_new(ctx: *mut SSL_CTX) -> *mut SSL;
    pub(crate) fn SSL_free(ssl: *mut SSL);
    pub(crate) fn SSL_set_bio(ssl: *mut SSL, read: *mut BIO, write: *mut BIO);
    pub(crate) fn SSL_set_connect_state(ssl: *mut SSL);
    pub(crate) fn SSL_set_accept_state(ssl: *mut SSL);
    pub(crate) fn SSL_set_mtu(ssl: *mut SSL, mtu: c_uint) -> c_int;
    pub(crate) fn SSL_set_shed_handshake_config(ssl: *mut SSL, enable: c_int);
    pub(crate) fn SSL_set_ex_data(ssl: *mut SSL, index: c_int, data: *mut c_void) -> c_int;
    pub(crate) fn SSL_get_ex_data(ssl: *const SSL, index: c_int) -> *mut c_void;
    pub(crate) fn SSL_do_handshake(ssl: *mut SSL) -> c_int;
    pub(crate) fn SSL_read(ssl: *mut SSL, buffer: *mut c_void, len: c_int) -> c_int;
    pub(crate) fn SSL_write(ssl: *mut SSL, data: *const c_void, len: c_int) -> c_int;
    pub(crate) fn SSL_shutdown(ssl: *mut SSL) -> c_int;
    pub(crate) fn SSL_get_error(ssl: *const SSL, result: c_int) -> c_int;
    pub(crate) fn SSL_get0_peer_certificates(ssl: *const SSL) -> *const Stack;
    pub(crate) fn SSL_get_selected_srtp_profile(ssl: *mut SSL) -> *const SRTP_PROTECTION_PROFILE;
    pub(crate) fn SSL_export_keying_material(
        ssl: *mut SSL,
        out: *mut u8,
        len: usize,
        label: *const c_char,
        label_len: usize,
        context: *const u8,
        context_len: usize,
        use_context: c_int,
    ) -> c_int;
    pub(crate) fn DTLSv1_set_initial_timeout_duration(ssl: *mut SSL, milliseconds: c_uint);
    pub(crate) fn DTLSv1_get_timeout(ssl: *const SSL, out: *mut libc::timeval) -> c_int;
    pub(crate) fn DTLSv1_handle_timeout(ssl: *mut SSL) -> c_int;
}

unsafe extern "C" {
    #[link_name = "aws_lc_0_47_0_BIO_meth_new"]
    pub(crate) fn BIO_meth_new(kind: c_int, name: *const c_char) -> *mut BIO_METHOD;
    #[link_name = "aws_lc_0_47_0_BIO_meth_set_read"]
    pub(crate) fn BIO_meth_set_read(method: *mut BIO_METHOD, read: Option<Read>) -> c_int;
    #[link_name = "aws_lc_0_47_0_BIO_meth_set_write"]
    pub(crate) fn BIO_meth_set_write(method: *mut BIO_METHOD, write: Option<Write>) -> c_int;
    #[link_name = "aws_lc_0_47_0_BIO_meth_set_ctrl"]
    pub(crate) fn BIO_meth_set_ctrl(method: *mut BIO_METHOD, ctrl: Option<Ctrl>) -> c_int;
    #[link_name = "aws_lc_0_47_0_BIO_new"]
    pub(crate) fn BIO_new(method: *const BIO_METHOD) -> *mut BIO;
    #[link_name = "aws_lc_0_47_0_BIO_set_data"]
    pub(crate) fn BIO_set_data(bio: *mut BIO, data: *mut c_void);
    #[link_name = "aws_lc_0_47_0_BIO_get_data"]
    pub(crate) fn BIO_get_data(bio: *mut BIO) -> *mut c_void;
    #[link_name = "aws_lc_0_47_0_BIO_set_init"]
    pub(crate) fn BIO_set_init(bio: *mut BIO, init: c_int);
    #[link_name = "aws_lc_0_47_0_BIO_set_retry_read"]
    pub(crate) fn BIO_set_retry_read(bio: *mut BIO);
    #[link_name = "aws_lc_0_47_0_BIO_clear_retry_flags"]
    pub(crate) fn BIO_clear_retry_flags(bio: *mut BIO);
    #[link_name = "aws_lc_0_47_0_CRYPTO_BUFFER_new"]
    pub(crate) fn CRYPTO_BUFFER_new(data: *const u8, len: usize, pool: *mut c_void) -> *mut CRYPTO_BUFFER;
    #[link_name = "aws_lc_0_47_0_CRYPTO_BUFFER_free"]
    pub(crate) fn CRYPTO_BUFFER_free(buffer: *mut CRYPTO_BUFFER);
    #[link_name = "aws_lc_0_47_0_CRYPTO_BUFFER_data"]
    pub(crate) fn CRYPTO_BUFFER_data(buffer: *const CRYPTO_BUFFER) -> *const u8;
    #[link_name = "aws_lc_0_47_0_CRYPTO_BUFFER_len"]
    pub(crate) fn CRYPTO_BUFFER_len(buffer: *const CRYPTO_BUFFER) -> usize;
    #[link_name = "aws_lc_0_47_0_OPENSSL_sk_num"]
    pub(crate) fn OPENSSL_sk_num(stack: *const Stack) -> usize;
    #[link_name = "aws_lc_0_47_0_OPENSSL_sk_value"]
    pub(crate) fn OPENSSL_sk_value(stack: *const Stack, index: usize) -> *mut c_void;
    #[link_name = "aws_lc_0_47_0_EVP_parse_private_key"]
    pub(crate) fn EVP_parse_private_key(bytes: *mut CBS) -> *mut EVP_PKEY;
    #[link_name = "aws_lc_0_47_0_EVP_PKEY_free"]
    pub(crate) fn EVP_PKEY_free(key: *mut EVP_PKEY);
    #[link_name = "aws_lc_0_47_0_ERR_get_error"]
    pub(crate) fn ERR_get_error() -> u32;
    #[link_name = "aws_lc_0_47_0_ERR_clear_error"]
    pub(crate) fn ERR_clear_error();
    #[link_name = "aws_lc_0_47_0_ERR_reason_error_string"]
    pub(crate) fn ERR_reason_error_string(code: u32) -> *const c_char;
}

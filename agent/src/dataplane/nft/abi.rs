//! Numbers of the kernel's nf_tables interface, by their names in `linux/netfilter/nf_tables.h` unless said otherwise.

use crate::dataplane::netlink::wire::NFTABLES;

/// The high byte of a message's kind.
pub(crate) const SUBSYS: u16 = NFTABLES << 8;
/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
pub(crate) const GROUP: u32 = 7;

/// `enum nf_tables_msg_types`.
pub(crate) mod msg {
    pub(crate) const NEWTABLE: u16 = 0;
    pub(crate) const GETTABLE: u16 = 1;
    pub(crate) const DELTABLE: u16 = 2;
    pub(crate) const NEWCHAIN: u16 = 3;
    pub(crate) const NEWRULE: u16 = 6;
    pub(crate) const GETRULE: u16 = 7;
    pub(crate) const NEWSET: u16 = 9;
    pub(crate) const NEWSETELEM: u16 = 12;
    pub(crate) const GETSETELEM: u16 = 13;
    pub(crate) const DELSETELEM: u16 = 14;
    pub(crate) const NEWGEN: u16 = 15;
    pub(crate) const NEWOBJ: u16 = 18;

    /// A message's name, for people.
    pub(crate) fn name(kind: u16) -> &'static str {
        const NAMES: [&str; 22] = [
            "add table",
            "get table",
            "delete table",
            "add chain",
            "get chain",
            "delete chain",
            "add rule",
            "get rule",
            "delete rule",
            "add set",
            "get set",
            "delete set",
            "add element",
            "get element",
            "delete element",
            "begin generation",
            "get generation",
            "trace",
            "add object",
            "get object",
            "delete object",
            "reset object",
        ];
        NAMES.get(usize::from(kind & 0xff)).copied().unwrap_or("unknown message")
    }
}

/// Attribute 1 of every object's message is its table's name: `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_SET_TABLE`,
/// ...
pub(crate) const TABLE: u16 = 1;
/// `NFTA_LIST_ELEM`.
pub(crate) const LIST_ELEM: u16 = 1;

/// `enum nft_table_attributes`.
pub(crate) mod table {
    pub(crate) const USERDATA: u16 = 6;
}

/// `enum nft_chain_attributes`, `enum nft_hook_attributes`.
pub(crate) mod chain {
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const HOOKNUM: u16 = 1;
    pub(crate) const PRIORITY: u16 = 2;
    /// `NF_ACCEPT` (linux/netfilter.h).
    pub(crate) const ACCEPT: u32 = 1;
}

/// `enum nft_rule_attributes`.
pub(crate) mod rule {
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
}

/// `enum nft_set_attributes`, `enum nft_set_flags`.
pub(crate) mod set {
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const ID: u16 = 10;
    pub(crate) const USERDATA: u16 = 13;
    pub(crate) const FLAG_CONSTANT: u32 = 0x2;
    pub(crate) const FLAG_MAP: u32 = 0x8;
    pub(crate) const FLAG_TIMEOUT: u32 = 0x10;
    /// `NFT_DATA_VERDICT` of `enum nft_data_types`.
    pub(crate) const VERDICTS: u32 = 0xffff_ff00;
}

/// `enum nft_set_elem_list_attributes`, `enum nft_set_elem_attributes`.
pub(crate) mod elem {
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const TIMEOUT: u16 = 4;
}

/// `enum nft_data_attributes`, `enum nft_verdict_attributes`, `enum nft_verdicts`.
pub(crate) mod data {
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
    /// `NF_DROP`.
    pub(crate) const DROP: u32 = 0;
    /// `NFT_GOTO`, `NFT_RETURN`.
    pub(crate) const GOTO: u32 = -4_i32 as u32;
    pub(crate) const RETURN: u32 = -5_i32 as u32;
}

/// `enum nft_object_attributes`, `enum nft_ct_timeout_timeout_attributes`.
pub(crate) mod object {
    pub(crate) const NAME: u16 = 2;
    pub(crate) const TYPE: u16 = 3;
    pub(crate) const DATA: u16 = 4;
    pub(crate) const USERDATA: u16 = 8;
    /// `NFT_OBJECT_CT_TIMEOUT`.
    pub(crate) const CT_TIMEOUT: u32 = 7;
    pub(crate) const TIMEOUT_L3PROTO: u16 = 1;
    pub(crate) const TIMEOUT_L4PROTO: u16 = 2;
    pub(crate) const TIMEOUT_DATA: u16 = 3;
    /// `CTA_TIMEOUT_TCP_SYN_SENT` (linux/netfilter/nfnetlink_cttimeout.h), in seconds.
    pub(crate) const TIMEOUT_TCP_SYN_SENT: u16 = 1;
}

/// `enum nft_gen_attributes`.
pub(crate) mod generation {
    pub(crate) const PROC_PID: u16 = 2;
    pub(crate) const PROC_NAME: u16 = 3;
}

/// Comments, as libnftnl keeps them in user data: (type, length, text with its final zero).
/// The type is `NFTNL_UDATA_TABLE_COMMENT`, `NFTNL_UDATA_CHAIN_COMMENT`, `NFTNL_UDATA_RULE_COMMENT` (all 0) or
/// `NFTNL_UDATA_SET_COMMENT` (7) of libnftnl's `udata.h`.
pub(crate) mod comment {
    pub(crate) const PLAIN: u8 = 0;
    pub(crate) const SET: u8 = 7;
    /// `NFTNL_UDATA_SET_KEYBYTEORDER`, `NFTNL_UDATA_SET_DATABYTEORDER`, and nft's `BYTEORDER_HOST_ENDIAN`: how to
    /// print.
    pub(crate) const HOST_ENDIAN: [[u8; 6]; 2] = [host_endian(0), host_endian(1)];
    /// `NFTNL_UDATA_COMMENT_MAXLEN`.
    pub(crate) const MAX: usize = 128;

    const fn host_endian(kind: u8) -> [u8; 6] {
        let [a, b, c, d] = 1_u32.to_ne_bytes();
        [kind, 4, a, b, c, d]
    }

    /// The comment as user data.
    pub(crate) fn encode(kind: u8, text: &str) -> Vec<u8> {
        let text: Vec<u8> = text.bytes().take(MAX - 1).chain([0]).collect();
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        [&[kind, length], text.as_slice()].concat()
    }

    /// The comment in a table's, chain's or rule's user data, if there is one.
    pub(crate) fn decode(userdata: &[u8]) -> Option<&str> {
        let [PLAIN, length, rest @ ..] = userdata else { return None };
        let text = rest.get(..usize::from(*length))?.strip_suffix(&[0])?;
        std::str::from_utf8(text).ok()
    }
}

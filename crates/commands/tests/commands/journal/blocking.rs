//! What commands that wait are logged as.

use super::check;

#[test]
fn what_waiting_commands_pop_is_logged_as_if_nobody_had_waited() {
    check(
        &["RPUSH list 1 2 3 4 5 6 7", "---", "BLPOP list 0", "BRPOP list 0", "BLMPOP 0 1 list LEFT COUNT 2"],
        &["LPOP list", "RPOP list", "LPOP list 2"],
    );
    check(
        &["RPUSH list 1 2 3", "---", "BLMOVE list other LEFT RIGHT 0", "BRPOPLPUSH list other 0", "EXISTS list"],
        &["LMOVE list other LEFT RIGHT", "RPOPLPUSH list other"],
    );
    check(
        &["ZADD z 1 a 2 b 3 c 4 d", "---", "BZPOPMIN z 0", "BZPOPMAX z 0", "BZMPOP 0 1 z MIN COUNT 5"],
        &["ZPOPMIN z", "ZPOPMAX z", "ZPOPMIN z 2"],
    );
    check(&["MULTI", "BLPOP missing 0", "RPUSH list a", "BLPOP list 0", "EXEC"], &["RPUSH list a", "LPOP list"]);
}

#[test]
fn who_is_served_is_logged_behind_what_filled_the_key() {
    check(
        &["@one", "&BLPOP a b 0", "@two", "&BRPOPLPUSH b c 0", "@three", "&BZMPOP 0 1 z MAX COUNT 2", "@main", "---"]
            .into_iter()
            .chain(["MULTI", "RPUSH b 1 2", "RPUSH a 3", "EXEC", "ZADD z 1 x 2 y 3 z"])
            .collect::<Vec<_>>(),
        &["RPUSH b 1 2", "RPUSH a 3", "LPOP b", "RPOPLPUSH b c", "ZADD z 1 x 2 y 3 z", "ZPOPMAX z 2"],
    );
    check(
        &[
            "@one",
            "&BLMOVE a b LEFT RIGHT 0",
            "@two",
            "&BLMOVE b c LEFT LEFT 0",
            "@main",
            "SELECT 1",
            "RPUSH a elsewhere",
        ]
        .into_iter()
        .chain(["SWAPDB 0 1", "SELECT 0", "SET a 1"])
        .collect::<Vec<_>>(),
        &["1: RPUSH a elsewhere", "1: SWAPDB 0 1", "LMOVE a b LEFT RIGHT", "LMOVE b c LEFT LEFT", "SET a 1"],
    );
    // What was refused to one is logged for the next only.
    check(
        &["@one", "&BLMOVE a string LEFT RIGHT 0", "@two", "&BLPOP a 0", "@main", "SET string x", "---", "RPUSH a 1"],
        &["RPUSH a 1", "LPOP a"],
    );
}

#[test]
fn what_is_delivered_to_waiting_members_of_a_group_is_logged_as_claims() {
    check(
        &["XGROUP CREATE s g $ MKSTREAM", "@one", "&XREADGROUP GROUP g alice BLOCK 0 STREAMS s >", "@main", "---"]
            .into_iter()
            .chain(["XADD s 5-1 f v", "XREAD BLOCK 0 STREAMS s 0"])
            .collect::<Vec<_>>(),
        &[
            "XADD s 5-1 f v",
            "XCLAIM s g alice 0 5-1 TIME 1704067200000 RETRYCOUNT 1 FORCE JUSTID LASTID 5-1",
            "XGROUP SETID s g 5-1 ENTRIESREAD 1",
        ],
    );
    // A member that was removed while it waited is added again by what it is delivered, and by nothing else.
    check(
        &["XGROUP CREATE s g $ MKSTREAM", "@one", "&XREADGROUP GROUP g alice BLOCK 0 STREAMS s >", "@main", "---"]
            .into_iter()
            .chain(["XGROUP DELCONSUMER s g alice", "XDEL s 1-1"])
            .collect::<Vec<_>>(),
        &["XGROUP DELCONSUMER s g alice", "XGROUP CREATECONSUMER s g alice"],
    );
}

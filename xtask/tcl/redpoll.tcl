# Sourced by the copy of the suite that `cargo xtask tcl` unpacks, after the suite's own definitions. Each part has its
# switch in the environment, and docs/compat.md tells why it is there.

# Small lists and sets are listpacks since 7.2, where 7.0 says quicklist and hashtable. A test that trips over the name
# says nothing about what comes after, so both names are taken for these two types.
if {[info exists ::env(ENCODINGS)] && $::env(ENCODINGS) eq "newer"} {
    rename assert_encoding assert_exact_encoding
    proc assert_encoding {enc key} {
        set takes_both [expr {"[r type $key] $enc" in {"list quicklist" "set hashtable"}}]
        if {!($takes_both && [r object encoding $key] eq "listpack")} {
            uplevel 1 [list assert_exact_encoding $enc $key]
        }
    }
}

# What a replica would be sent is what the append-only log holds, so tests that look at the one look at the other. A server
# that the suite started keeps no log; it is switched on as long as somebody reads it.
if {[info exists ::env(REPLICATION)] && $::env(REPLICATION) eq "log"} {
    set ::log_is_borrowed 0

    proc attach_to_replication_stream {} {
        if {[lindex [r config get appendonly] 1] eq "no"} {
            r config set appendonly yes
            waitForBgrewriteaof r
            set ::log_is_borrowed 1
        }
        set folder [file join [lindex [r config get dir] 1] [lindex [r config get appenddirname] 1]]
        set stream [open [lindex [lsort -dictionary [glob $folder/*.incr.aof]] end] r]
        fconfigure $stream -translation binary
        # The log names a database when it is another than before: a change elsewhere makes it name the next one, as a
        # new replica is told, and tells where to begin.
        set mark "mark-[clock clicks]"
        set other [redis [srv 0 host] [srv 0 port] 0 $::tls]
        $other select 15
        $other set $mark 1
        $other del $mark
        $other close
        set record "*2\r\n\$3\r\nDEL\r\n\$[string length $mark]\r\n$mark\r\n"
        wait_for_condition 100 50 {
            [string match -nocase "*$record" [read_end_of_log $stream [string length $record]]]
        } else {
            fail "the log does not end with the change just made"
        }
        return $stream
    }

    proc read_end_of_log {stream bytes} {
        seek $stream 0 end
        seek $stream [expr {max(0, [tell $stream] - $bytes)}]
        read $stream
    }

    proc close_replication_stream {stream} {
        close $stream
        if {$::log_is_borrowed} {
            r config set appendonly no
            set ::log_is_borrowed 0
        }
    }
}

# Among the strings one test bounds what a value takes, and asks for jemalloc, whose overhead it knows. The bound holds for others too.
rename s field_of_server
proc s {args} {
    if {$args eq "mem_allocator" && [string match "*unit/type/string*" $::curfile]} {
        return jemalloc
    }
    uplevel 1 [list field_of_server {*}$args]
}

# A test that fails may leave a transaction open, another database selected or no memory to write to, and take those after it
# along. So the connection is replaced after one that failed, and memory given back.
if {[info exists ::env(RECONNECT)]} {
    rename test test_without_repair
    proc test {args} {
        set failed $::num_failed
        uplevel 1 [list test_without_repair {*}$args]
        if {$::num_failed > $failed && [llength $::servers] > 0} {
            catch {reconnect}
            catch {r config set maxmemory 0}
            catch {r debug set-active-expire 1}
        }
    }
}

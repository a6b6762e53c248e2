//! chunked_list

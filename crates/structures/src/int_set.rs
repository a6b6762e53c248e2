//! int_set

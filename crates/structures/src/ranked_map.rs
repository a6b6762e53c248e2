//! ranked_map

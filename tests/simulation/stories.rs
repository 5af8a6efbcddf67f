//! Golden stories: what the operator does and says, in words.

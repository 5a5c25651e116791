#pragma once

// Catch2 v3 split its one header; Debian 12 still has v2.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

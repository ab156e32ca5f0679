#include <gtest/gtest.h>

#include "fastcgi/request_reader.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  bailian::init_libfcgi();
  return RUN_ALL_TESTS();
}

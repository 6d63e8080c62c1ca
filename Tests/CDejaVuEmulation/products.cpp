// cuBLASLt's functions on the host: they do what descriptions and layouts say, in plain loops.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "dejavu_emulation.h"

namespace {

struct Product {
  /// Whether of float32 factors 10 bits of mantissa are read.
  bool narrows;
  int32_t first_operation = 0, second_operation = 0, bias_type = -1;
  uint32_t epilogue = dejavu_blaslt_plain;
  dv_address bias = 0;
};

struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};

struct Preference {
  uint64_t workspace_bytes = 0;
};

int make(dejavu_blaslt_out handle) {
  static int one;
  *handle = &one;
  return 0;
}
int make_product(dejavu_blaslt_out product, int sums, int scale) {
  bool narrows = sums == dejavu_blaslt_sums_tf32;
  if ((sums != dejavu_blaslt_sums_float32 && !narrows) || scale != dejavu_blaslt_float32) return 15;
  *product = new Product{narrows};
  return 0;
}
int release_product(dejavu_blaslt_handle product) {
  delete (Product *)product;
  return 0;
}
/// Takes a value of just the field's size.
template <class T> int take(T &field, const void *value, size_t bytes) {
  if (bytes != sizeof field) return 7;
  std::memcpy(&field, value, bytes);
  return 0;
}
int set_product(dejavu_blaslt_handle handle, int attribute, const void *value, size_t bytes) {
  Product *product = (Product *)handle;
  switch (attribute) {
  case dejavu_blaslt_first_operation: return take(product->first_operation, value, bytes);
  case dejavu_blaslt_second_operation: return take(product->second_operation, value, bytes);
  case dejavu_blaslt_epilogue: return take(product->epilogue, value, bytes);
  case dejavu_blaslt_bias_pointer: return take(product->bias, value, bytes);
  case dejavu_blaslt_bias_type: return take(product->bias_type, value, bytes);
  default: return 7;
  }
}
int make_layout(dejavu_blaslt_out layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  if (stride < (int64_t)rows) return 7;
  *layout = new Layout{type, rows, columns, stride};
  return 0;
}
int release_layout(dejavu_blaslt_handle layout) {
  delete (Layout *)layout;
  return 0;
}
int make_preference(dejavu_blaslt_out preference) {
  *preference = new Preference;
  return 0;
}
int release_preference(dejavu_blaslt_handle preference) {
  delete (Preference *)preference;
  return 0;
}
int set_preference(dejavu_blaslt_handle handle, int attribute, const void *value, size_t bytes) {
  if (attribute == dejavu_blaslt_workspace_bytes)
    return take(((Preference *)handle)->workspace_bytes, value, bytes);
  uint32_t alignment;
  if (attribute < dejavu_blaslt_alignment || attribute > dejavu_blaslt_alignment + 3) return 7;
  return take(alignment, value, bytes);
}

/// A factor as the product reads it: as it lies, or with rows and columns changed over.
struct Factor {
  const Layout &layout;
  bool turned;
  uint64_t rows() const { return turned ? layout.columns : layout.rows; }
  uint64_t columns() const { return turned ? layout.rows : layout.columns; }
};

/// Whether the sizes of both factors and of the result go together, and types do as the library wants.
bool fits(const Product &product, const Layout &first, const Layout &second, const Layout &stored) {
  const Factor a = {first, product.first_operation == dejavu_blaslt_transposed};
  const Factor b = {second, product.second_operation == dejavu_blaslt_transposed};
  bool biased = product.epilogue & dejavu_blaslt_bias;
  return a.columns() == b.rows() && a.rows() == stored.rows && b.columns() == stored.columns &&
         first.type == second.type && (!product.narrows || first.type == dejavu_blaslt_float32) &&
         (stored.type == dejavu_blaslt_float32 || stored.type == first.type) &&
         (!biased || (product.bias != 0 && product.bias_type == stored.type));
}

int propose(dejavu_blaslt_handle, dejavu_blaslt_handle product, dejavu_blaslt_handle first,
            dejavu_blaslt_handle second, dejavu_blaslt_handle added, dejavu_blaslt_handle stored,
            dejavu_blaslt_handle, int wanted, dejavu_blaslt_proposal *proposals, int *count) {
  *count = 0;
  if (wanted < 1 || added != stored ||
      !fits(*(Product *)product, *(Layout *)first, *(Layout *)second, *(Layout *)stored))
    return 15;
  std::memset(proposals, 0, sizeof *proposals);
  *count = 1;
  return 0;
}

float element(const Layout &layout, dv_address base, uint64_t row, uint64_t column) {
  uint64_t at = row + column * (uint64_t)layout.stride;
  if (layout.type == dejavu_blaslt_float32) return ((const float *)base)[at];
  uint16_t bits = ((const uint16_t *)base)[at];
  if (layout.type == dejavu_blaslt_float16) {
    _Float16 half;
    std::memcpy(&half, &bits, 2);
    return (float)half;
  }
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

/// The nearest float of 10 bits of mantissa; of two, the one farther from zero.
float narrowed(float value) {
  if (!std::isfinite(value)) return value;
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = (bits + 0x1000) & ~0x1fffu;
  std::memcpy(&value, &bits, 4);
  return value;
}

/// A factor's element as it is multiplied.
float element(const Product &product, const Factor &factor, dv_address base, uint64_t row,
              uint64_t column) {
  float value = element(factor.layout, base, factor.turned ? column : row, factor.turned ? row : column);
  return product.narrows ? narrowed(value) : value;
}

/// Stores a number as the layout's type.
void store(const Layout &layout, dv_address base, uint64_t at, float value) {
  if (layout.type == dejavu_blaslt_float32) {
    ((float *)base)[at] = value;
    return;
  }
  uint16_t bits;
  if (layout.type == dejavu_blaslt_float16) {
    _Float16 half = (_Float16)value;
    std::memcpy(&bits, &half, 2);
  } else {
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    bits = (uint16_t)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
  }
  ((uint16_t *)base)[at] = bits;
}

float finished(float sum, const Product &product, const Layout &stored, uint64_t row) {
  // A bias has the type of what is stored.
  const Layout vector = {stored.type, stored.rows, 1, (int64_t)stored.rows};
  if (product.epilogue & dejavu_blaslt_bias) sum += element(vector, product.bias, row, 0);
  if (product.epilogue & dejavu_blaslt_relu) return sum < 0 ? 0 : sum;
  if (!(product.epilogue & dejavu_blaslt_gelu_tanh)) return sum;
  return 0.5f * sum * (1 + std::tanh(0.79788456f * (sum + 0.044715f * sum * sum * sum)));
}

int multiply(dejavu_blaslt_handle, dejavu_blaslt_handle handle, const void *alpha, dv_address a,
             dejavu_blaslt_handle a_layout, dv_address b, dejavu_blaslt_handle b_layout,
             const void *beta, dv_address, dejavu_blaslt_handle, dv_address out,
             dejavu_blaslt_handle out_layout, const uint64_t *, dv_address, size_t, void *) {
  const Product &product = *(Product *)handle;
  const Layout &first = *(Layout *)a_layout, &second = *(Layout *)b_layout;
  const Layout &stored = *(Layout *)out_layout;
  if (!fits(product, first, second, stored)) return 7;
  const Factor left = {first, product.first_operation == dejavu_blaslt_transposed};
  const Factor right = {second, product.second_operation == dejavu_blaslt_transposed};
  std::vector<double> sums(stored.rows);
  for (uint64_t t = 0; t < stored.columns; t++) {
    sums.assign(stored.rows, 0);
    for (uint64_t k = 0; k < right.rows(); k++)
      for (uint64_t n = 0; n < stored.rows; n++)
        sums[n] += (double)element(product, left, a, n, k) * element(product, right, b, k, t);
    for (uint64_t n = 0; n < stored.rows; n++) {
      float sum = *(const float *)alpha * (float)sums[n], factor = *(const float *)beta;
      // What is not kept may be anything.
      float whole = factor == 0 ? sum : sum + factor * element(stored, out, n, t);
      store(stored, out, n + t * (uint64_t)stored.stride, finished(whole, product, stored, n));
    }
  }
  return 0;
}

}  // namespace

void dejavu_emulated_products(dejavu_blaslt *functions) {
  functions->version = [] { return (size_t)130000; };
  functions->make = make;
  functions->release = [](dejavu_blaslt_handle) { return 0; };
  functions->make_product = make_product;
  functions->release_product = release_product;
  functions->set_product = set_product;
  functions->make_layout = make_layout;
  functions->release_layout = release_layout;
  functions->make_preference = make_preference;
  functions->release_preference = release_preference;
  functions->set_preference = set_preference;
  functions->propose = propose;
  functions->multiply = multiply;
}

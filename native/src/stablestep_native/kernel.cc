// The laws of a mean message and the normal numbers of Euler-Maruyama, as calls that XLA makes on a CPU.
//
// Every row (a run in one step) has a Threefry-2x32-20 key of its own, so that no result depends on threads or on how rows are split.
// Both words of a call of the cipher serve: the first half of a block's coordinates has the first words, the second half the second.
// Loops are plain and run over blocks that stay in the first cache, for the compiler to vectorise; it is told for what processor.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "xla/ffi/api/ffi.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace ffi = xla::ffi;

namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Words = ffi::Buffer<ffi::U32>;
using Result = ffi::Result<Floats>;

constexpr int kBlock = 512;           // coordinates
constexpr int kRoom = kBlock + 64;    // what vectors may write beyond
constexpr int kLanes = 128;           // coordinates that an inversion ends together for
constexpr int kAgents = 64;           // up to which (1 - q)^n does not vanish
constexpr uint32_t kFine = 1u << 28;  // kept words below this are too coarse to make a normal of

struct Key {
  uint32_t first, second;
};

inline int rounded(int count) { return (count + 15) & ~15; }

inline int half(int count) { return rounded((count + 1) / 2); }

inline uint32_t rotated(uint32_t word, int by) { return (word << by) | (word >> (32 - by)); }

// Threefry-2x32-20 of two counters at once, whose steps a processor can take side by side.
inline void cipher(Key key, uint32_t counter0, uint32_t counter1, uint32_t slot, uint32_t* left0, uint32_t* left1,
                   uint32_t* right0, uint32_t* right1) {
  const uint32_t third = key.first ^ key.second ^ 0x1BD11BDAu;
  uint32_t a = counter0 + key.first, b = slot + key.second, c = counter1 + key.first, d = b;
#define ROUND(by) a += b; c += d; b = rotated(b, by) ^ a; d = rotated(d, by) ^ c;
#define ADD(first, second) a += first; c += first; b += second; d += second;
#define EVEN ROUND(13) ROUND(15) ROUND(26) ROUND(6)
#define ODD ROUND(17) ROUND(29) ROUND(16) ROUND(24)
  EVEN ADD(key.second, third + 1)
  ODD ADD(third, key.first + 2)
  EVEN ADD(key.first, key.second + 3)
  ODD ADD(key.second, third + 4)
  EVEN ADD(third, key.first + 5)
  *left0 = a;
  *right0 = b;
  *left1 = c;
  *right1 = d;
}

// Both words of `calls` calls (a multiple of 16) from counter `first` on.
void encrypt(Key key, uint32_t first, uint32_t slot, int calls, uint32_t* __restrict left, uint32_t* __restrict right) {
  const int half = calls / 2;
  for (int i = 0; i < half; ++i) {
    cipher(key, first + i, first + i + half, slot, left + i, left + i + half, right + i, right + i + half);
  }
}

// A word for each of `count` coordinates from `base` on, and up to the end of the last vectors.
void words(Key key, uint32_t base, uint32_t slot, int count, uint32_t* out) {
  const int calls = half(count);
  encrypt(key, base, slot, calls, out, out + calls);
}

// log of a positive normal number, relative error 3e-8: see `fast_log` in stablestep/stream.py.
inline float logarithm(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, 4);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;
  bits -= exponent << 23;
  float part;
  std::memcpy(&part, &bits, 4);
  part -= 1.0f;
  float series = 0.0872235971f;
  series = series * part - 0.143668451f;
  series = series * part + 0.149522661f;
  series = series * part - 0.165623927f;
  series = series * part + 0.199568336f;
  series = series * part - 0.250020741f;
  series = series * part + 0.333341856f;
  series = series * part - 0.49999988f;
  series = series * part + 0.999999974f;
  return part * series + float(exponent) * 0.693147181f;
}

// sin(pi v / 2) for v in [0, 1].
inline float sine(float v) {
  const float square = v * v;
  float series = 0.0001514851308f;
  series = series * square - 0.004673766613f;
  series = series * square + 0.07968967895f;
  series = series * square - 0.6459637106f;
  series = series * square + 1.570796318f;
  return v * series;
}

// Box-Muller: pairs of standard normals of words that are uniform below 1/unit.
void normals(const uint32_t* __restrict radii, const uint32_t* __restrict angles, int pairs, float unit, float* __restrict one,
             float* __restrict other) {
  for (int i = 0; i < pairs; ++i) {
    const float uniform = std::min((float(radii[i]) + 0.5f) * unit, 1.0f);
    const float turn = 4.0f * (float(angles[i]) * unit);
    const float radius = std::sqrt(std::max(-2.0f * logarithm(uniform), 0.0f));
    const int quarter = int(turn);
    const float part = turn - float(quarter);
    const float low = sine(part), high = sine(1.0f - part);
    const bool odd = quarter & 1;
    const float x = odd ? low : high, y = odd ? high : low;
    one[i] = ((quarter + 1) & 2) ? -radius * x : radius * x;
    other[i] = (quarter & 2) ? -radius * y : radius * y;
  }
}

// The words up to `last`, one after another; how many there are.
int kept_words(const uint32_t* __restrict words, int count, uint32_t last, uint32_t* __restrict kept) {
  int found = 0, i = 0;
#ifdef __AVX512F__
  const __m512i top = _mm512_set1_epi32(int32_t(last));
  for (; i + 16 <= count; i += 16) {
    const __m512i word = _mm512_loadu_si512(words + i);
    const __mmask16 mask = _mm512_cmple_epu32_mask(word, top);
    _mm512_storeu_si512(kept + found, _mm512_maskz_compress_epi32(mask, word));
    found += __builtin_popcount(mask);
  }
#endif
  for (; i < count; ++i) {
    kept[found] = words[i];
    found += words[i] <= last;
  }
  return found;
}

// stretch (g + scale z) where a coordinate is kept, and 0 elsewhere; z holds the numbers of the kept ones, one after another.
void spread(const uint32_t* __restrict words, int count, uint32_t last, const float* __restrict g, const float* __restrict z,
            float scale, float stretch, float* __restrict out) {
  int used = 0, i = 0;
#ifdef __AVX512F__
  const __m512i top = _mm512_set1_epi32(int32_t(last));
  const __m512 by = _mm512_set1_ps(scale), times = _mm512_set1_ps(stretch);
  for (; i + 16 <= count; i += 16) {
    const __mmask16 mask = _mm512_cmple_epu32_mask(_mm512_loadu_si512(words + i), top);
    const __m512 own = _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(z + used));
    const __m512 noisy = _mm512_fmadd_ps(by, own, _mm512_loadu_ps(g + i));
    _mm512_storeu_ps(out + i, _mm512_maskz_mul_ps(mask, times, noisy));
    used += __builtin_popcount(mask);
  }
#endif
  for (; i < count; ++i) {
    const bool keep = words[i] <= last;
    out[i] = keep ? stretch * (g[i] + scale * z[used]) : 0.0f;
    used += keep;
  }
}

// One agent: Bernoulli(1/(1 + omega)) masks and Gaussian noise.
void sparse_row(const float* g, Key key, float scale, float omega, float stretch, int64_t dim, float* out) {
  alignas(64) uint32_t word[kRoom], kept[kRoom] = {};
  alignas(64) float z[kRoom], other[kRoom];
  const double range = 4294967296.0 / (1.0 + double(omega));
  const uint32_t last = uint32_t(std::min(std::max(range, 1.0), 4294967296.0) - 1.0);
  for (int64_t base = 0; base < dim; base += kBlock) {
    const int count = int(std::min<int64_t>(kBlock, dim - base));
    words(key, uint32_t(base), 0, count, word);
    const int found = kept_words(word, count, last, kept);
    const int pairs = (found + 1) / 2;
    float unit = float(1.0 / range);
    if (last < kFine) {
      words(key, uint32_t(base), 1, found, kept);
      unit = 0x1p-32f;
    } else if (found & 1) {
      uint32_t spare[4];
      cipher(key, uint32_t(base), uint32_t(base), 2, spare, spare + 1, spare + 2, spare + 3);
      kept[found] = uint32_t((uint64_t(spare[0]) * (uint64_t(last) + 1)) >> 32);
    }
    normals(kept, kept + pairs, rounded(pairs), unit, z, other);
    std::copy(other, other + found - pairs, z + pairs);
    spread(word, count, last, g + base, z, scale, stretch, out + base);
  }
}

// Many agents: weight (K g + scale sqrt(K) z) with K from an alias table of 2^bits entries (see `Alias` in stablestep).
void many_row(const float* g, Key key, float scale, float weight, const uint32_t* table, int bits, float first, int64_t dim,
              float* out) {
  alignas(64) uint32_t left[kRoom], right[kRoom];
  alignas(64) float z[kRoom];
  const int shift = 32 - bits;
  const uint32_t rest = (1u << shift) - 1;
  for (int64_t base = 0; base < dim; base += kBlock) {
    const int count = int(std::min<int64_t>(kBlock, dim - base));
    const int pairs = half(count);
    encrypt(key, uint32_t(base), 0, 2 * pairs, left, right);
    normals(right, right + pairs, pairs, 0x1p-32f, z, z + pairs);
    const float* own = g + base;
    float* message = out + base;
    for (int i = 0; i < count; ++i) {
      const uint32_t column = left[i] >> shift, entry = table[column];
      const float number = first + float(int32_t((left[i] & rest) < (entry & rest) ? column : entry >> shift));
      message[i] = weight * (number * own[i] + scale * std::sqrt(number) * z[i]);
    }
  }
}

// Adds Binomial(agents, q) of one word each, q up to 1/2, by summing the probability function; see `inverted` in stablestep.
void add_flips(const float* q, const uint32_t* word, int agents, int count, float* out) {
  float uniform[kLanes], odds[kLanes], mass[kLanes], below[kLanes], number[kLanes], power[kLanes] = {};
  std::copy(q, q + std::min(count, kLanes), power);
  for (int i = 0; i < kLanes; ++i) {
    uniform[i] = std::min(float(word[i]) * 0x1p-32f, 0x1.fffffep-1f);
    number[i] = 0.0f * power[i];  // NaN for NaN
    odds[i] = power[i] / (1.0f - power[i]);
    power[i] = 1.0f - power[i];
    mass[i] = 1.0f;
  }
  for (int left = agents; left; left >>= 1) {
    const bool factor = left & 1;
    for (int i = 0; i < kLanes; ++i) {
      mass[i] *= factor ? power[i] : 1.0f;
      power[i] *= power[i];
    }
  }
  std::copy(mass, mass + kLanes, below);
  for (int k = 0; k < agents; ++k) {
    const float ratio = float(agents - k) / float(k + 1);
    int past = 0;
    for (int i = 0; i < kLanes; ++i) {
      const bool more = uniform[i] >= below[i];
      number[i] += more ? 1.0f : 0.0f;
      past |= more;
      mass[i] *= odds[i] * ratio;
      below[i] += mass[i];
    }
    if (!past) break;
  }
  for (int i = 0; i < std::min(count, kLanes); ++i) out[i] += number[i];
}

// Binomial(agents, q) for each coordinate, in blocks of agents.
void flips_row(const float* q, Key key, int64_t agents, int64_t dim, float* out) {
  alignas(64) uint32_t word[kRoom] = {};
  std::fill(out, out + dim, 0.0f);
  uint32_t slot = 0;
  for (int64_t left = agents; left > 0; left -= kAgents, ++slot) {
    for (int64_t base = 0; base < dim; base += kBlock) {
      const int count = int(std::min<int64_t>(kBlock, dim - base));
      words(key, uint32_t(base), slot, count, word);
      for (int i = 0; i < count; i += kLanes) {
        add_flips(q + base + i, word + i, int(std::min<int64_t>(left, kAgents)), count - i, out + base + i);
      }
    }
  }
}

void normal_row(Key key, uint32_t slot, int64_t dim, float* out) {
  alignas(64) uint32_t word[kRoom];
  alignas(64) float z[kRoom];
  for (int64_t base = 0; base < dim; base += kBlock) {
    const int count = int(std::min<int64_t>(kBlock, dim - base));
    const int pairs = half(count);
    words(key, uint32_t(base), slot, 2 * pairs, word);
    normals(word, word + pairs, pairs, 0x1p-32f, z, z + pairs);
    std::memcpy(out + base, z, sizeof(float) * count);
  }
}

// Calls `row(r, dim)` for each row of a result.
template <typename Row>
ffi::Error over_rows(Result& out, Row row) {
  const auto shape = out->dimensions();
  if (shape.size() == 0) return ffi::Error::InvalidArgument("a result needs an axis of coordinates");
  const int64_t dim = shape.back(), rows = dim == 0 ? 0 : int64_t(out->element_count()) / dim;
  for (int64_t r = 0; r < rows; ++r) row(r, dim);
  return ffi::Error::Success();
}

inline Key key_of(const Words& first, const Words& second, int64_t row) {
  return {first.typed_data()[row], second.typed_data()[row]};
}

ffi::Error Sparse(Floats g, Words key0, Words key1, Floats scale, Floats omega, Floats stretch, Result out) {
  return over_rows(out, [&](int64_t r, int64_t dim) {
    sparse_row(g.typed_data() + r * dim, key_of(key0, key1, r), scale.typed_data()[r], omega.typed_data()[r],
               stretch.typed_data()[r], dim, out->typed_data() + r * dim);
  });
}

ffi::Error Many(Floats g, Words key0, Words key1, Floats scale, Floats weight, Words table, Floats first, Result out) {
  const int64_t columns = table.dimensions().back();
  const int bits = __builtin_ctzll(uint64_t(columns));
  return over_rows(out, [&](int64_t r, int64_t dim) {
    many_row(g.typed_data() + r * dim, key_of(key0, key1, r), scale.typed_data()[r], weight.typed_data()[r],
             table.typed_data() + r * columns, bits, first.typed_data()[r], dim, out->typed_data() + r * dim);
  });
}

ffi::Error Flips(int64_t agents, Floats q, Words key0, Words key1, Result out) {
  return over_rows(out, [&](int64_t r, int64_t dim) {
    flips_row(q.typed_data() + r * dim, key_of(key0, key1, r), agents, dim, out->typed_data() + r * dim);
  });
}

ffi::Error Normal(int64_t slot, Words key0, Words key1, Result out) {
  return over_rows(out, [&](int64_t r, int64_t dim) {
    normal_row(key_of(key0, key1, r), uint32_t(slot), dim, out->typed_data() + r * dim);
  });
}

}  // namespace

// The binding of a call: what it gets of each row, in order.
#define CALL(name, function, binding) XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function, ffi::Ffi::Bind() binding.Ret<Floats>())
#define FLOAT .Arg<Floats>()
#define WORD .Arg<Words>()

CALL(stablestep_sparse, Sparse, FLOAT WORD WORD FLOAT FLOAT FLOAT);
CALL(stablestep_many, Many, FLOAT WORD WORD FLOAT FLOAT WORD FLOAT);
CALL(stablestep_flips, Flips, .Attr<int64_t>("agents") FLOAT WORD WORD);
CALL(stablestep_normal, Normal, .Attr<int64_t>("slot") WORD WORD);

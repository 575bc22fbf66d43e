#include "steep.h"

#include <math.h>

namespace rwkv {
namespace {

constexpr double kEmpty = -1e300;  // log-weight of nothing; finite, so that differences are not NaN

double larger(double a, double b) { return a > b ? a : b; }  // NaN in b is kept

// Sums on one side of a token, divided by exp(level); `far` ones are weighted by distance.
struct Pile {
  double num = 0.0;
  double den = 0.0;
  double far_num = 0.0;
  double far_den = 0.0;
  double level = kEmpty;

  // Step one token on, and take in the token that was passed.
  void pass(double w, double log_weight, double num_part, double den_part) {
    const double reached = level - w;
    level = larger(reached, log_weight);
    const double old = exp(reached - level);
    const double fresh = exp(log_weight - level);
    far_num = (far_num + num) * old;
    far_den = (far_den + den) * old;
    num = num * old + num_part * fresh;
    den = den * old + den_part * fresh;
  }
};

// A token's mean, and the logarithm of the sum of weights that it was divided by.
struct Mean {
  double y;
  double log_total;
};

Mean mean_of(const Pile& past, const Pile& future, double own, double value) {
  const double level = larger(larger(past.level, future.level), own);
  const double a = exp(past.level - level);
  const double b = exp(future.level - level);
  const double c = exp(own - level);
  const double total = a * past.den + b * future.den + c;
  return {(a * past.num + b * future.num + c * value) / total, level + log(total)};
}

// Emit the mean of every token, from the first to the last.
template <class Emit>
void scan_means(const SteepChannel& ch, double* scratch, Emit emit) {
  Pile future;
  for (int64_t t = ch.tokens - 1; t >= 0; --t) {
    double* kept = scratch + 3 * t;
    kept[0] = future.num;
    kept[1] = future.den;
    kept[2] = future.level;
    future.pass(ch.w, ch.k[t * ch.stride], ch.v[t * ch.stride], 1.0);
  }
  Pile past;
  for (int64_t t = 0; t < ch.tokens; ++t) {
    const double k = ch.k[t * ch.stride];
    const double v = ch.v[t * ch.stride];
    future.num = scratch[3 * t];
    future.den = scratch[3 * t + 1];
    future.level = scratch[3 * t + 2];
    emit(t, mean_of(past, future, ch.u + k, v));
    past.pass(ch.w, k, v, 1.0);
  }
}

// What one side of a token adds to its gradients.
struct Share {
  double dk;
  double dv;
  double dw;
};

Share share_of(const Pile& rates, double k, double v) {
  const double weight = exp(k + rates.level);
  return {weight * (v * rates.den - rates.num), weight * rates.den,
          weight * (rates.far_num - v * rates.far_den)};
}

}  // namespace

void steep_forward(const SteepChannel& ch, double* scratch) {
  scan_means(ch, scratch, [&](int64_t t, Mean mean) { ch.y[t * ch.stride] = float(mean.y); });
}

void steep_backward(const SteepChannel& ch, double* scratch) {
  double* means = scratch;  // y and log total, per token
  double* sides = scratch + 2 * ch.tokens;
  scan_means(ch, sides, [&](int64_t t, Mean mean) {
    means[2 * t] = mean.y;
    means[2 * t + 1] = mean.log_total;
  });
  const auto pass = [&](Pile& rates, int64_t t) {
    const double g = ch.gy[t * ch.stride];
    rates.pass(ch.w, -means[2 * t + 1], g * means[2 * t], g);
  };
  Pile future;
  for (int64_t t = ch.tokens - 1; t >= 0; --t) {
    const Share share = share_of(future, ch.k[t * ch.stride], ch.v[t * ch.stride]);
    sides[3 * t] = share.dk;
    sides[3 * t + 1] = share.dv;
    sides[3 * t + 2] = share.dw;
    pass(future, t);
  }
  Pile past;
  double dw = 0.0;
  double du = 0.0;
  for (int64_t t = 0; t < ch.tokens; ++t) {
    const double k = ch.k[t * ch.stride];
    const double v = ch.v[t * ch.stride];
    const Share share = share_of(past, k, v);
    const double own = exp(ch.u + k - means[2 * t + 1]) * ch.gy[t * ch.stride];
    const double own_pair = own * (v - means[2 * t]);
    ch.dk[t * ch.stride] = float(share.dk + sides[3 * t] + own_pair);
    ch.dv[t * ch.stride] = float(share.dv + sides[3 * t + 1] + own);
    dw += share.dw + sides[3 * t + 2];
    du += own_pair;
    pass(past, t);
  }
  *ch.dw = float(dw);
  *ch.du = float(du);
}

}  // namespace rwkv

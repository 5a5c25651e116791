#pragma once

#include <array>
#include <string_view>

namespace netcl::ckpt {

/// What an optimizer, or a moving average, keeps for a variable V beside it: a tensor called V and `ending`, of V's
/// shape. The word alone proves nothing (a layer may be called "gate_momentum"): the variable has to be there.
struct SlotWord {
  std::string_view ending;  ///< with what joins it to the variable's name
  bool average = false;     ///< a moving average of V, which may take its place; else optimizer state
  bool any_shape = false;   ///< factored, or one number: another shape than V's
  bool alone = false;       ///< no layer is called so: V may be in another file
  std::string_view program;
};

/// Names are compared letter by letter, without TensorFlow's ":0".
inline constexpr std::array kSlotWords = {
    SlotWord{"_momentum", false, false, false, "Detectron, PySlowFast (Caffe2)"},
    SlotWord{"/Adam", false, false, false, "TensorFlow, tf.train.AdamOptimizer"},
    SlotWord{"/Adam_1", false, false, false, "TensorFlow, tf.train.AdamOptimizer"},
    SlotWord{"/Momentum", false, false, false, "TensorFlow, tf.train.MomentumOptimizer"},
    SlotWord{"/RMSProp", false, false, false, "TensorFlow, tf.train.RMSPropOptimizer"},
    SlotWord{"/RMSProp_1", false, false, false, "TensorFlow, tf.train.RMSPropOptimizer"},
    SlotWord{"/RMSProp_2", false, false, false, "TensorFlow, tf.train.RMSPropOptimizer, centered"},
    SlotWord{"/Adagrad", false, false, false, "TensorFlow, tf.train.AdagradOptimizer"},
    SlotWord{"/Adadelta", false, false, false, "TensorFlow, tf.train.AdadeltaOptimizer"},
    SlotWord{"/Adadelta_1", false, false, false, "TensorFlow, tf.train.AdadeltaOptimizer"},
    SlotWord{"/Ftrl", false, false, false, "TensorFlow, tf.train.FtrlOptimizer"},
    SlotWord{"/Ftrl_1", false, false, false, "TensorFlow, tf.train.FtrlOptimizer"},
    SlotWord{"/AdaMax", false, false, false, "TensorFlow, tf.contrib.opt.AdaMaxOptimizer"},
    SlotWord{"/AdaMax_1", false, false, false, "TensorFlow, tf.contrib.opt.AdaMaxOptimizer"},
    SlotWord{"/LARSOptimizer", false, false, false, "TensorFlow, tf.contrib.opt.LARSOptimizer"},
    SlotWord{"/adam_m", false, false, false, "BERT, ALBERT, ELECTRA (AdamWeightDecayOptimizer)"},
    SlotWord{"/adam_v", false, false, false, "BERT, ALBERT, ELECTRA (AdamWeightDecayOptimizer)"},
    SlotWord{"/lamb_m", false, false, false, "LAMB in TensorFlow"},
    SlotWord{"/lamb_v", false, false, false, "LAMB in TensorFlow"},
    SlotWord{"_slot_m", false, false, false, "Mesh TensorFlow, T5 (Adafactor)"},
    SlotWord{"_slot_v", false, false, false, "Mesh TensorFlow, T5 (Adafactor)"},
    SlotWord{"_slot_vr", false, true, false, "Mesh TensorFlow, T5 (Adafactor, factored)"},
    SlotWord{"_slot_vc", false, true, false, "Mesh TensorFlow, T5 (Adafactor, factored)"},
    SlotWord{"/ExponentialMovingAverage", true, false, false, "TensorFlow, tf.train.ExponentialMovingAverage"},
    SlotWord{"_moment1_0", false, false, true, "PaddlePaddle, Adam"},
    SlotWord{"_moment2_0", false, false, true, "PaddlePaddle, Adam"},
    SlotWord{"_moment_0", false, false, true, "PaddlePaddle, Adagrad, Adamax"},
    SlotWord{"_inf_norm_0", false, false, true, "PaddlePaddle, Adamax"},
    SlotWord{"_velocity_0", false, false, true, "PaddlePaddle, Momentum"},
    SlotWord{"_beta1_pow_acc_0", false, true, true, "PaddlePaddle, Adam"},
    SlotWord{"_beta2_pow_acc_0", false, true, true, "PaddlePaddle, Adam"},
};

}  // namespace netcl::ckpt

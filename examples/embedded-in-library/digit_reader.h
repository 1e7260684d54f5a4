/* Reads a handwritten digit. */
#ifndef DIGIT_READER_H_
#define DIGIT_READER_H_

#ifdef __cplusplus
extern "C" {
#endif

/* The digit on a picture of 8 x 8 pixels from 0 (paper) to 16 (ink), row by row; -1 on failure. Any
 * number of threads may call it. */
__attribute__((visibility("default"))) int read_digit(const unsigned char pixels[64]);

#ifdef __cplusplus
}
#endif

#endif /* DIGIT_READER_H_ */

"""Tables of sentences with labels: GLUE and XNLI in the layout of fairseq's sentence_prediction.

``tables`` reads rows, ``tasks`` says what GLUE's tables contain, ``examples`` writes inputs and
labels as text, ``encoders`` cuts them into subwords, ``layout`` makes binary data of them.
"""

import time, json
from tests.real_models import instances
async def call(app, path, body, n):
    scope0={"type":"http","http_version":"1.1","scheme":"http","root_path":"","query_string":b"model=cancer","method":"POST","path":path,"headers":[(b"host",b"localhost"),(b"content-type",b"application/json"),(b"content-length",str(len(body)).encode())],"client":("127.0.0.1",1)}
    async def receive(): return {"type":"http.request","body":body,"more_body":False}
    st=[]
    async def send(m): 
        if m["type"]=="http.response.start": st.append(m["status"])
    t=time.perf_counter()
    for _ in range(n): await app(dict(scope0,headers=list(scope0["headers"]),state={}),receive,send)
    assert set(st)=={200}, set(st)
    return (time.perf_counter()-t)/n*1e6
async def test_b(serving):
    row=instances(1)
    v2=json.dumps({"inputs":[{"name":"i","shape":[1,30],"datatype":"FP64","data":row[0]}]}).encode()
    nat=json.dumps({"instances":row}).encode()
    big=instances(160)*7
    v2b=json.dumps({"inputs":[{"name":"i","shape":[len(big),30],"datatype":"FP64","data":[x for r in big for x in r]}]}).encode()
    natb=json.dumps({"instances":big}).encode()
    for _ in range(3):
        print("native us", await call(serving,"/api/models/cancer/predict",nat,1500), "v2", await call(serving,"/v2/models/cancer/infer",v2,1500), "inv", await call(serving,"/invocations",nat,1500))
        print(len(v2b), "1120 rows: native us", await call(serving,"/api/models/cancer/predict",natb,15), "v2", await call(serving,"/v2/models/cancer/infer",v2b,15), "inv", await call(serving,"/invocations",natb,15))
    import cProfile,pstats
    p=cProfile.Profile(); p.enable(); await call(serving,"/v2/models/cancer/infer",v2,1000); p.disable()
    pstats.Stats(p).sort_stats("tottime").print_stats(28)
